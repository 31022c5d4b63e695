package broker

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// maxDelay is how long one subscriber at its limit may delay a publisher.
const maxDelay = time.Second

var errSlow = errors.New("too slow: unacknowledged messages reached the limit")

// hook applies edgekit's rules to mochi: who may connect, what happens to slow
// subscribers, and in which order the messages of a session are sent again.
type hook struct {
	mqtt.HookBase
	server       *mqtt.Server
	authenticate func(Login) bool
	maxInflight  int
	log          *slog.Logger
	slow         atomic.Int64 // clients disconnected for being slow
}

// ID names the hook in mochi's logs.
func (h *hook) ID() string { return "edgekit" }

// Provides lists the hook's methods for mochi.
func (h *hook) Provides(b byte) bool {
	switch b {
	case mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPacketRead, mqtt.OnPacketEncode, mqtt.OnSessionEstablish, mqtt.OnPublishDropped:
		return true
	}
	return false
}

// OnConnectAuthenticate asks Config.Authenticate.
func (h *hook) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	if h.authenticate == nil {
		return true
	}
	return h.authenticate(Login{ClientID: cl.ID, Username: string(pk.Connect.Username), Password: pk.Connect.Password})
}

// OnPacketRead removes the client's Receive Maximum; the package comment says
// why.
func (h *hook) OnPacketRead(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if pk.FixedHeader.Type == packets.Connect {
		pk.Properties.ReceiveMaximum = 0
	}
	return pk, nil
}

// OnPacketEncode lets user properties of messages reach clients that want no
// problem information: that setting is for acknowledgements only (MQTT 5,
// 3.1.2.11.7).
func (h *hook) OnPacketEncode(_ *mqtt.Client, pk packets.Packet) packets.Packet {
	if pk.FixedHeader.Type == packets.Publish {
		pk.Mods.DisallowProblemInfo = false
	}
	return pk
}

// OnACLCheck allows everything. mochi calls it, with write false, for each
// message and subscriber just before it would drop a message of QoS 1 for a
// subscriber at its limit; this method waits for that subscriber and then
// disconnects it.
func (h *hook) OnACLCheck(cl *mqtt.Client, _ string, write bool) bool {
	if write || cl.Net.Inline || cl.Closed() || cl.State.Inflight.Len() < h.maxInflight {
		return true
	}
	deadline := time.NewTimer(maxDelay)
	defer deadline.Stop()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for !cl.Closed() && cl.State.Inflight.Len() >= h.maxInflight {
		select {
		case <-poll.C:
		case <-deadline.C:
			h.disconnect(cl)
			return true
		}
	}
	return true
}

// OnPublishDropped disconnects a subscriber for which a message was dropped, so that
// the subscriber notices.
func (h *hook) OnPublishDropped(cl *mqtt.Client, pk packets.Packet) {
	if pk.FixedHeader.Qos > 0 {
		h.disconnect(cl)
	}
}

func (h *hook) disconnect(cl *mqtt.Client) {
	if cl.Closed() {
		return
	}
	h.slow.Add(1)
	h.log.Warn("MQTT client is disconnected because it is too slow", "client", cl.ID, "unacknowledged", cl.State.Inflight.Len(), "limit", h.maxInflight)
	cl.Stop(errSlow)
}

// notReading counts and logs a connection that was closed because its buffer was
// full.
func (h *hook) notReading(remote net.Addr) {
	h.slow.Add(1)
	h.log.Warn("MQTT client is disconnected because it does not read", "remote", remote.String())
}

// OnSessionEstablish restores the order of the messages in the session that cl
// resumes. mochi sorts them by the low 16 bits of the second in which they were
// made, so that those of one second have no order. This method numbers them.
// Packet identifiers rise within a connection, and wrap.
func (h *hook) OnSessionEstablish(cl *mqtt.Client, _ packets.Packet) {
	existing, ok := h.server.Clients.Get(cl.ID)
	if !ok {
		return
	}
	waiting := existing.State.Inflight.GetAll(false)
	slices.SortFunc(waiting, func(a, b packets.Packet) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), int(int16(a.PacketID-b.PacketID)))
	})
	for i, pk := range waiting {
		pk.Created = int64(i) // at most MaxInflight, so far older than any real time
		existing.State.Inflight.Set(pk)
	}
}

// demote logs mochi's messages at debug level: mochi logs the faults of clients as
// warnings, and its own start in several lines.
type demote struct{ slog.Handler }

func (d demote) Enabled(ctx context.Context, _ slog.Level) bool {
	return d.Handler.Enabled(ctx, slog.LevelDebug)
}

func (d demote) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return d.Handler.Handle(ctx, r)
}

func (d demote) WithAttrs(attrs []slog.Attr) slog.Handler { return demote{d.Handler.WithAttrs(attrs)} }

func (d demote) WithGroup(name string) slog.Handler { return demote{d.Handler.WithGroup(name)} }
