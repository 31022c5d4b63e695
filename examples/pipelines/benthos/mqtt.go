package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/redpanda-data/benthos/v4/public/service"
)

// inFlight is how many messages the broker sends before the first is acknowledged.
const inFlight = 64

// connectionFields are the fields that the input and the output share.
func connectionFields(spec *service.ConfigSpec) *service.ConfigSpec {
	return spec.Fields(
		service.NewStringListField("urls").Description("The broker: tcp://HOST:PORT."),
		service.NewStringField("client_id").Description("Names the session at the broker. Two clients with one name end each other."),
		service.NewStringField("user").Default(""),
		service.NewStringField("password").Default("").Secret(),
		service.NewIntField("qos").Default(1),
	)
}

// registerMQTT adds the input and the output.
func registerMQTT(env *service.Environment) error {
	in := connectionFields(service.NewConfigSpec().Summary("Messages of an MQTT 5 broker, at least once.")).Fields(
		service.NewStringListField("topics"),
		service.NewBoolField("clean_session").Default(true).Description("false keeps what comes while this program is away."),
	)
	out := connectionFields(service.NewConfigSpec().Summary("Publishes at an MQTT 5 broker.")).Fields(
		service.NewInterpolatedStringField("topic"),
		service.NewBoolField("retained").Default(false),
	)
	return errors.Join(
		env.RegisterInput("mqtt", in, func(c *service.ParsedConfig, _ *service.Resources) (service.Input, error) {
			i, err := newInput(c)
			return service.AutoRetryNacks(i), err
		}),
		env.RegisterOutput("mqtt", out, func(c *service.ParsedConfig, _ *service.Resources) (service.Output, int, error) {
			o, err := newOutput(c)
			return o, inFlight, err
		}),
	)
}

// connection is a client of the broker. It reconnects by itself.
type connection struct {
	config autopaho.ClientConfig
	qos    byte

	mu      sync.Mutex
	manager *autopaho.ConnectionManager
	cancel  context.CancelFunc
}

func newConnection(c *service.ParsedConfig) (*connection, error) {
	urls, err1 := c.FieldStringList("urls")
	id, err2 := c.FieldString("client_id")
	user, err3 := c.FieldString("user")
	password, err4 := c.FieldString("password")
	qos, err5 := c.FieldInt("qos")
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return nil, err
	}
	if qos < 0 || qos > 1 {
		return nil, errors.New("qos must be 0 or 1")
	}
	n := &connection{qos: byte(qos)}
	n.config = autopaho.ClientConfig{
		KeepAlive: 30, ConnectUsername: user, ConnectPassword: []byte(password), ConnectTimeout: 10 * time.Second,
		CleanStartOnInitialConnection: true,
		ClientConfig:                  paho.ClientConfig{ClientID: id},
		ConnectPacketBuilder: func(p *paho.Connect, _ *url.URL) (*paho.Connect, error) {
			most := uint16(inFlight)
			if p.Properties == nil {
				p.Properties = &paho.ConnectProperties{}
			}
			p.Properties.ReceiveMaximum = &most
			return p, nil
		},
	}
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("urls: %w", err)
		}
		n.config.ServerUrls = append(n.config.ServerUrls, u)
	}
	return n, nil
}

// Connect connects. The connection lives until Close, not until ctx ends.
func (n *connection) Connect(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.manager == nil {
		life, cancel := context.WithCancel(context.WithoutCancel(ctx))
		manager, err := autopaho.NewConnection(life, n.config)
		if err != nil {
			cancel()
			return err
		}
		n.manager, n.cancel = manager, cancel
	}
	return n.manager.AwaitConnection(ctx)
}

// Close disconnects and waits for the client's goroutines.
func (n *connection) Close(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.manager == nil {
		return nil
	}
	err := n.manager.Disconnect(ctx)
	n.cancel()
	<-n.manager.Done()
	n.manager = nil
	return err
}

// received is a message of the broker with what acknowledges it.
type received struct {
	packet *paho.Publish
	ack    func() error
}

// input gives the messages of some topics to Benthos.
type input struct {
	*connection
	messages chan received
	closed   chan struct{}
	once     sync.Once
}

func newInput(c *service.ParsedConfig) (*input, error) {
	n, err1 := newConnection(c)
	topics, err2 := c.FieldStringList("topics")
	clean, err3 := c.FieldBool("clean_session")
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	i := &input{connection: n, messages: make(chan received, inFlight), closed: make(chan struct{})}
	if !clean {
		n.config.CleanStartOnInitialConnection = false
		n.config.SessionExpiryInterval = 24 * 60 * 60 // seconds
	}
	n.config.EnableManualAcknowledgment = true
	n.config.OnPublishReceived = []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
		select {
		case i.messages <- received{r.Packet, func() error { return r.Client.Ack(r.Packet) }}:
		case <-i.closed:
		}
		return true, nil
	}}
	n.config.OnConnectionUp = func(m *autopaho.ConnectionManager, _ *paho.Connack) {
		sub := &paho.Subscribe{}
		for _, t := range topics {
			sub.Subscriptions = append(sub.Subscriptions, paho.SubscribeOptions{Topic: t, QoS: n.qos})
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // the callback has no context
		defer cancel()
		_, _ = m.Subscribe(ctx, sub) // without a connection, the next one subscribes
	}
	return i, nil
}

// Read waits for the next message.
func (i *input) Read(ctx context.Context) (*service.Message, service.AckFunc, error) {
	select {
	case r := <-i.messages:
		m := service.NewMessage(r.packet.Payload)
		m.MetaSetMut("mqtt_topic", r.packet.Topic)
		return m, func(context.Context, error) error {
			_ = r.ack() // after the connection has ended the broker sends the message again
			return nil
		}, nil
	case <-i.closed:
		return nil, nil, service.ErrEndOfInput
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// Close disconnects. Messages that were not acknowledged stay at the broker.
func (i *input) Close(ctx context.Context) error {
	i.once.Do(func() { close(i.closed) })
	return i.connection.Close(ctx)
}

// output publishes messages.
type output struct {
	*connection
	topic  *service.InterpolatedString
	retain bool
}

func newOutput(c *service.ParsedConfig) (*output, error) {
	n, err1 := newConnection(c)
	topic, err2 := c.FieldInterpolatedString("topic")
	retain, err3 := c.FieldBool("retained")
	return &output{n, topic, retain}, errors.Join(err1, err2, err3)
}

// Write publishes a message and waits until the broker has it.
func (o *output) Write(ctx context.Context, m *service.Message) error {
	topic, err := o.topic.TryString(m)
	if err != nil {
		return err
	}
	body, err := m.AsBytes()
	if err != nil {
		return err
	}
	o.mu.Lock()
	manager := o.manager
	o.mu.Unlock()
	if manager == nil {
		return service.ErrNotConnected
	}
	_, err = manager.Publish(ctx, &paho.Publish{Topic: topic, Payload: body, QoS: o.qos, Retain: o.retain})
	return err
}
