package main

import (
	"fmt"
	"math"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// mqttLimits are the bounds of the embedded broker. Each protects the memory of the node from
// clients; what is over a bound is refused or dropped, counted in
// edgekit_mqtt_limit_reached_total, and logged once. 0 is the default of bus/broker.
type mqttLimits struct {
	MQTTMaxPacket        int           `help:"Largest MQTT packet in bytes that a client may send." default:"1048576" name:"mqtt-max-packet" placeholder:"BYTES"`
	MQTTMaxInflight      int           `help:"How many messages of QoS 1 and 2 may be unacknowledged on one MQTT connection, in each direction." default:"4096" name:"mqtt-max-inflight" placeholder:"N"`
	MQTTMaxClients       int           `help:"How many MQTT clients may be connected." default:"1000" name:"mqtt-max-clients" placeholder:"N"`
	MQTTMaxPerAddress    int           `help:"How many MQTT connections one address of another machine may have." default:"256" name:"mqtt-max-per-address" placeholder:"N"`
	MQTTMaxPending       int           `help:"How many MQTT connections may be open before their login." default:"256" name:"mqtt-max-pending" placeholder:"N"`
	MQTTMaxSessions      int           `help:"How many MQTT sessions are kept while their clients are away." default:"1000" name:"mqtt-max-sessions" placeholder:"N"`
	MQTTMaxSubscriptions int           `help:"How many subscriptions one MQTT client may have." default:"1000" name:"mqtt-max-subscriptions" placeholder:"N"`
	MQTTMaxQueue         int           `help:"How many messages of QoS 1 and 2 wait for one MQTT client; further ones are dropped for it." default:"50000" name:"mqtt-max-queue" placeholder:"N"`
	MQTTMaxQueueBytes    int           `help:"How many bytes of messages wait for one MQTT client." default:"8388608" name:"mqtt-max-queue-bytes" placeholder:"BYTES"`
	MQTTMaxQueuedBytes   int           `help:"How many bytes of messages wait for all MQTT clients together." default:"33554432" name:"mqtt-max-queued-bytes" placeholder:"BYTES"`
	MQTTMaxRetained      int           `help:"How many retained MQTT messages are kept." default:"10000" name:"mqtt-max-retained" placeholder:"N"`
	MQTTMaxRetainedBytes int           `help:"How many bytes of retained MQTT messages are kept." default:"16777216" name:"mqtt-max-retained-bytes" placeholder:"BYTES"`
	MQTTWriteBuffer      int           `help:"How many bytes may wait for one MQTT connection; beyond it messages of QoS 0 are dropped for it." default:"262144" name:"mqtt-write-buffer" placeholder:"BYTES"`
	MQTTSessionExpiry    time.Duration `help:"How long the session of an MQTT client is kept at most while it is away." default:"24h" name:"mqtt-session-expiry" placeholder:"TIME"`
	MQTTMaxKeepalive     time.Duration `help:"Longest keepalive of an MQTT 5 client. 0 leaves it to the client." default:"0s" name:"mqtt-max-keepalive" placeholder:"TIME"`
}

// apply checks the limits and sets them in cfg.
func (l *mqttLimits) apply(cfg *broker.Config) error {
	for _, f := range []struct {
		setting            string
		value, least, most int
		field              *int
	}{
		{"mqtt-max-packet", l.MQTTMaxPacket, 1 << 10, bus.MaxPayload, &cfg.MaxPacket},
		{"mqtt-max-inflight", l.MQTTMaxInflight, 1, math.MaxUint16, &cfg.MaxInflight},
		{"mqtt-max-clients", l.MQTTMaxClients, 1, maxCount, &cfg.MaxClients},
		{"mqtt-max-per-address", l.MQTTMaxPerAddress, 1, maxCount, &cfg.MaxPerAddress},
		{"mqtt-max-pending", l.MQTTMaxPending, 4, maxCount, &cfg.MaxPending},
		{"mqtt-max-sessions", l.MQTTMaxSessions, 1, maxCount, &cfg.MaxSessions},
		{"mqtt-max-subscriptions", l.MQTTMaxSubscriptions, 1, maxCount, &cfg.MaxSubscriptions},
		{"mqtt-max-queue", l.MQTTMaxQueue, 1, maxCount, &cfg.MaxQueue},
		{"mqtt-max-queue-bytes", l.MQTTMaxQueueBytes, 1 << 10, maxBytes, &cfg.MaxQueueBytes},
		{"mqtt-max-queued-bytes", l.MQTTMaxQueuedBytes, 1 << 10, maxBytes, &cfg.MaxQueuedBytes},
		{"mqtt-max-retained", l.MQTTMaxRetained, 1, maxCount, &cfg.MaxRetained},
		{"mqtt-max-retained-bytes", l.MQTTMaxRetainedBytes, 1 << 10, maxBytes, &cfg.MaxRetainedBytes},
		{"mqtt-write-buffer", l.MQTTWriteBuffer, 1 << 10, maxBytes, &cfg.WriteBuffer},
	} {
		if f.value != 0 && (f.value < f.least || f.value > f.most) {
			return &program.UsageError{Setting: f.setting, Reason: fmt.Sprintf("%d: give a number from %d to %d, or leave it out for the default", f.value, f.least, f.most)}
		}
		*f.field = f.value
	}
	switch {
	case l.MQTTSessionExpiry != 0 && (l.MQTTSessionExpiry < time.Second || l.MQTTSessionExpiry > maxExpiry):
		return &program.UsageError{Setting: "mqtt-session-expiry", Reason: fmt.Sprintf("%v: give a time from 1s to %v", l.MQTTSessionExpiry, maxExpiry)}
	case l.MQTTMaxKeepalive != 0 && (l.MQTTMaxKeepalive < time.Second || l.MQTTMaxKeepalive > math.MaxUint16*time.Second):
		return &program.UsageError{Setting: "mqtt-max-keepalive", Reason: fmt.Sprintf("%v: give a time from 1s to 18h, or 0 to leave it to the clients", l.MQTTMaxKeepalive)}
	case l.MQTTMaxQueueBytes > l.MQTTMaxQueuedBytes && l.MQTTMaxQueuedBytes != 0:
		return &program.UsageError{Setting: "mqtt-max-queue-bytes", Reason: fmt.Sprintf("%d: one client cannot have more than all together, which is mqtt-max-queued-bytes, %d", l.MQTTMaxQueueBytes, l.MQTTMaxQueuedBytes)}
	}
	cfg.SessionExpiry, cfg.MaxKeepalive = l.MQTTSessionExpiry, l.MQTTMaxKeepalive
	return nil
}

const (
	maxCount  = 1_000_000
	maxBytes  = 1 << 30
	maxExpiry = 100 * 365 * 24 * time.Hour
)
