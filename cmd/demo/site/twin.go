package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/eclipse/paho.golang/paho"
)

// Twin is one property of a device as the node's broker tells it.
type Twin struct {
	Expected *Value `json:"expected"`
	Actual   *Value `json:"actual"`
}

// Value is a twin's value.
type Value struct {
	Value    string `json:"value"`
	Metadata struct {
		Timestamp int64 `json:"timestamp"` // milliseconds since 1970
	} `json:"metadata"`
}

// Twins asks the node for a device's twins over MQTT, as an app on the node
// would: a request to twin/get, answered on twin/get/result.
func (s *Site) Twins(ctx context.Context, namespace, device string) (map[string]Twin, error) {
	topic := "$hw/events/device/" + namespace + "/" + device + "/twin/get"
	var answer struct {
		Twin   map[string]Twin `json:"twin"`
		Code   int             `json:"code"`
		Reason string          `json:"reason"`
	}
	body, err := s.ask(ctx, topic, topic+"/result")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("site: %s: %w", topic, err)
	}
	if answer.Code != 0 {
		return nil, fmt.Errorf("site: %s: %d %s", topic, answer.Code, answer.Reason)
	}
	return answer.Twin, nil
}

// ask publishes an empty request and waits for the first answer.
func (s *Site) ask(ctx context.Context, topic, result string) ([]byte, error) {
	conn, err := s.Network().DialContext(ctx, "tcp", Broker)
	if err != nil {
		return nil, fmt.Errorf("site: broker: %w", err)
	}
	defer conn.Close()
	answers := make(chan []byte, 1)
	client := paho.NewClient(paho.ClientConfig{Conn: conn, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) {
			select {
			case answers <- p.Packet.Payload:
			default: // the first one counts
			}
			return true, nil
		},
	}})
	if _, err := client.Connect(ctx, &paho.Connect{ClientID: "edgekit-demo", KeepAlive: 30, CleanStart: true}); err != nil {
		return nil, fmt.Errorf("site: broker: %w", err)
	}
	if _, err := client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: result, QoS: 1}}}); err != nil {
		return nil, fmt.Errorf("site: subscribe %s: %w", result, err)
	}
	if _, err := client.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(`{"event_id":"demo"}`)}); err != nil {
		return nil, fmt.Errorf("site: publish %s: %w", topic, err)
	}
	select {
	case body := <-answers:
		return body, client.Disconnect(&paho.Disconnect{})
	case <-ctx.Done():
		return nil, fmt.Errorf("site: no answer on %s: %w", result, context.Cause(ctx))
	case <-client.Done():
		return nil, errors.New("site: the broker closed the connection")
	}
}
