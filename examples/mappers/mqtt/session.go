package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

// session is one connection to a broker. It does not reconnect: when it has ended, the SDK
// closes the driver and opens it again. All methods may be called by several goroutines at
// once.
type session struct {
	client *paho.Client
	ended  chan struct{} // closed when the connection is lost

	mu      sync.Mutex
	err     error
	last    map[string]message
	arrived chan struct{} // closed at the next message
}

// message is the newest message of a topic.
type message struct {
	payload []byte
	at      time.Time
}

// connect connects to the broker and subscribes to topics.
func connect(ctx context.Context, c *connection, topics []string) (*session, error) {
	host, config, err := c.address()
	if err != nil {
		return nil, err
	}
	var conn net.Conn
	if config == nil {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", host)
	} else {
		conn, err = (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", host)
	}
	if err != nil {
		return nil, err
	}
	s := &session{ended: make(chan struct{}), last: make(map[string]message), arrived: make(chan struct{})}
	var once sync.Once
	end := func(err error) {
		once.Do(func() {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
			close(s.ended)
		})
	}
	s.client = paho.NewClient(paho.ClientConfig{
		Conn:              packets.NewThreadSafeConn(conn),
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){s.receive},
		OnClientError:     end,
		OnServerDisconnect: func(d *paho.Disconnect) {
			end(fmt.Errorf("the broker ended the connection with code %#x", d.ReasonCode))
		},
	})
	hello := &paho.Connect{ClientID: c.ClientID, CleanStart: true, KeepAlive: 15}
	if c.Username != "" {
		hello.Username, hello.UsernameFlag = c.Username, true
		hello.Password, hello.PasswordFlag = []byte(c.Password), c.Password != ""
	}
	ack, err := s.client.Connect(ctx, hello)
	if err != nil {
		conn.Close()
		if ack != nil && ack.ReasonCode >= 0x80 {
			return nil, fmt.Errorf("the broker refused the connection with code %#x: %w", ack.ReasonCode, err)
		}
		return nil, err
	}
	subscribe := new(paho.Subscribe)
	for _, topic := range topics {
		subscribe.Subscriptions = append(subscribe.Subscriptions, paho.SubscribeOptions{Topic: topic, QoS: 1})
	}
	if _, err := s.client.Subscribe(ctx, subscribe); err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe to %q: %w", topics, err), s.close())
	}
	return s, nil
}

// receive keeps a message.
func (s *session) receive(r paho.PublishReceived) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last[r.Packet.Topic] = message{r.Packet.Payload, time.Now()}
	close(s.arrived)
	s.arrived = make(chan struct{})
	return true, nil
}

// lost is why the connection has ended; nil while it lasts.
func (s *session) lost() error {
	select {
	case <-s.ended:
	default:
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Errorf("the connection to the broker is lost: %w", s.err)
}

// get returns the newest message of a topic, and a channel that is closed at the next one of
// any topic.
func (s *session) get(topic string) (m message, ok bool, arrived <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok = s.last[topic]
	return m, ok, s.arrived
}

// wait waits until a message of the topic has arrived after then, or for a time.
func (s *session) wait(ctx context.Context, topic string, then time.Time, most time.Duration) (message, error) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	for {
		m, ok, arrived := s.get(topic)
		if ok && m.at.After(then) {
			return m, nil
		}
		select {
		case <-arrived:
		case <-timer.C:
			return m, fmt.Errorf("no message at the topic %s yet", topic)
		case <-s.ended:
			return m, s.lost()
		case <-ctx.Done():
			return m, ctx.Err()
		}
	}
}

// publish publishes a message and waits for the broker's answer.
func (s *session) publish(ctx context.Context, topic string, payload []byte) error {
	_, err := s.client.Publish(ctx, &paho.Publish{Topic: topic, Payload: payload, QoS: 1})
	return err
}

// close ends the connection.
func (s *session) close() error {
	err := s.client.Disconnect(&paho.Disconnect{})
	if s.lost() != nil {
		return nil // nobody to say goodbye to
	}
	return err
}
