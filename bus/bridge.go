package bus

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// Bridge says which messages of clients pass between the two brokers in mode Both. What the
// program itself publishes goes to both anyway. A message passes once: what came from one
// broker never goes back there, and the program's own subscriptions, which hear both brokers,
// get it once.
type Bridge struct {
	// Out are the filters of what clients of the embedded broker publish that goes to the outside
	// broker. Empty means nothing.
	Out []string
	// In are the filters of what comes from the outside broker to clients of the embedded one.
	// They must not overlap each other, nor begin with "$": the topics of devices are served
	// at both brokers by the program. Empty means nothing.
	In []string
}

// Gateway is an embedded broker that keeps what is for the outside broker until that has it:
// over a restart of the program too, if the broker has a storage. bus/broker implements it.
type Gateway interface {
	Transport
	// Outgoing has the broker keep all that Publish gets and what its clients publish under
	// the filters. It must be called before Run; a filter that was left out since the last run
	// brings nothing any more.
	Outgoing(filters []string) error
	// Forward gives what is kept to send, in order and one at a time, until ctx ends. done
	// must be called once the outside broker has the message; until then it is kept, and
	// given again by the next Forward. If send returns an error, the message is kept.
	Forward(ctx context.Context, send func(ctx context.Context, m Message, done func()) error) error
	// Incoming passes a message of the outside broker to clients, not to subscriptions of the
	// program nor back to Forward. It returns when what clients' sessions keep of m is durable.
	Incoming(ctx context.Context, m Message) error
}

// Confirmer is a transport to an outside broker that says when that broker has a message.
// bus/client implements it.
type Confirmer interface {
	Transport
	// PublishConfirm is Publish, and calls done once the broker has the message: for QoS 0 when
	// it was sent. done must not block. A message is never dropped: PublishConfirm waits.
	PublishConfirm(ctx context.Context, m Message, done func()) error
	// SubscribeIncoming is Subscribe for a bridge: Retain of a message is as it was published,
	// the program's own messages do not come back, and retained messages come with a new
	// session only.
	SubscribeIncoming(filter string, deliver func(Message)) (stop func(), err error)
}

// bridge moves messages between a gateway and the outside broker.
type bridge struct {
	gateway Gateway
	outside Confirmer
	in      []string
	log     *slog.Logger
}

// newBridge checks the filters. It returns nil if the transports cannot keep messages and none
// are to pass.
func newBridge(inside, outside Transport, cfg Bridge, log *slog.Logger) (*bridge, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	gateway, ok := inside.(Gateway)
	confirmer, sure := outside.(Confirmer)
	if !ok || !sure {
		if len(cfg.In)+len(cfg.Out) > 0 {
			return nil, fmt.Errorf("bus: Config.Bridge needs a Gateway inside and a Confirmer outside, as bus/broker and bus/client are: the transports are %T and %T", inside, outside)
		}
		return nil, nil
	}
	if err := gateway.Outgoing(cfg.Out); err != nil {
		return nil, fmt.Errorf("bus: Config.Bridge.Out: %w", err)
	}
	return &bridge{gateway: gateway, outside: confirmer, in: cfg.In, log: log}, nil
}

// Validate says what is wrong with the filters, and how to mend it.
func (c Bridge) Validate() error {
	for field, filters := range map[string][]string{"Out": c.Out, "In": c.In} {
		for i, f := range filters {
			if err := ValidateFilter(f); err != nil {
				return fmt.Errorf("bus: Config.Bridge.%s: %w", field, err)
			}
			if Unshare(f) != f || strings.HasPrefix(f, "$SYS/") || (field == "In" && f[0] == '$') {
				return fmt.Errorf("bus: Config.Bridge.%s has %.100q: shared subscriptions and $SYS do not pass, and nothing that begins with $ comes in: the topics of devices are served at both brokers anyway; leave it out", field, f)
			}
			for _, g := range filters[:i] {
				if field == "In" && overlap(f, g) {
					return fmt.Errorf("bus: Config.Bridge.In: %.100q and %.100q overlap, so some messages would come twice: use one filter for both", g, f)
				}
			}
		}
	}
	return nil
}

// overlap reports whether a topic may match both filters.
func overlap(f, g string) bool {
	if (f[0] == '$') != (g[0] == '$') {
		return false // wildcards leave out what begins with "$" (MQTT-4.7.2-1)
	}
	a, b := strings.Split(f, "/"), strings.Split(g, "/")
	for i := 0; ; i++ {
		switch {
		case i < len(a) && a[i] == "#", i < len(b) && b[i] == "#":
			return true
		case i == len(a) || i == len(b):
			return len(a) == len(b)
		case a[i] != b[i] && a[i] != "+" && b[i] != "+":
			return false
		}
	}
}

// subscribe has the messages of the outside broker come in. It is called before the outside
// transport runs: with a connection the broker sends at once what has waited there.
func (b *bridge) subscribe(ctx context.Context) (stop func()) {
	var stops []func()
	for _, filter := range b.in {
		stop, err := b.outside.SubscribeIncoming(filter, func(m Message) {
			if err := b.gateway.Incoming(ctx, m); err != nil && ctx.Err() == nil {
				b.log.Warn("MQTT message of the outside broker did not come in", "topic", m.Topic, "err", err)
			}
		})
		if err != nil {
			b.log.Warn("MQTT subscription failed at the outside broker", "filter", filter, "err", err)
			continue
		}
		stops = append(stops, stop)
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// forward moves messages out until ctx ends.
func (b *bridge) forward(ctx context.Context) {
	select {
	case <-b.outside.Ready(): // until then the gateway keeps all
	case <-ctx.Done():
		return
	}
	if err := b.gateway.Forward(ctx, b.outside.PublishConfirm); err != nil && ctx.Err() == nil {
		b.log.Error("MQTT messages do not go to the outside broker", "err", err)
	}
}
