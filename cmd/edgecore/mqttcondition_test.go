package main

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/bus/client"
)

// TestBrokerCondition shows each state of the external broker as an operator sees it.
func TestBrokerCondition(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	reset := &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{Port: 12345}, Addr: &net.TCPAddr{Port: 1883}, Err: errors.New("connection reset by peer")}
	for _, test := range []struct {
		name    string
		status  client.Status
		want    corev1.ConditionStatus
		reason  string
		message string // part of it
	}{
		{"connected", client.Status{Connected: true, Since: now}, corev1.ConditionFalse, "BrokerConnected", "tcp://mqtt:1883 is connected"},
		{"first try", client.Status{Reason: client.ReasonStarting, Since: now, Err: errors.New("x")}, corev1.ConditionUnknown, "Starting", "first"},
		{"a moment away", client.Status{Reason: client.ReasonUnreachable, Since: now.Add(-time.Second), Err: reset}, corev1.ConditionFalse, "BrokerConnected", ""},
		{"away", client.Status{Reason: client.ReasonUnreachable, Since: now.Add(-time.Minute), Err: reset}, corev1.ConditionTrue, "Unreachable", "read: connection reset by peer"},
		{"silent", client.Status{Reason: client.ReasonNoAnswer, Since: now.Add(-time.Minute), Err: errors.New("i/o timeout")}, corev1.ConditionTrue, "NoAnswer", "i/o timeout"},
		{"password", client.Status{Reason: client.ReasonBadCredentials, Since: now, Err: errors.New("x")}, corev1.ConditionTrue, "BadCredentials", "mqtt-broker-password-file"},
		{"rule", client.Status{Reason: client.ReasonNotAuthorized, Since: now, Err: errors.New("x")}, corev1.ConditionTrue, "NotAuthorized", "mqtt-broker-client-id"},
		{"certificate", client.Status{Reason: client.ReasonTLSFailed, Since: now, Err: errors.New("unknown authority")}, corev1.ConditionTrue, "TLSFailed", "unknown authority"},
		{"full", client.Status{Reason: client.ReasonRefused, Since: now, Err: errors.New("quota")}, corev1.ConditionTrue, "Refused", "quota"},
	} {
		c := brokerCondition("tcp://mqtt:1883", test.status, now)
		if c.Type != "MQTTBrokerUnavailable" || c.Status != test.want || c.Reason != test.reason || !strings.Contains(c.Message, test.message) || strings.Contains(c.Message, "12345") {
			t.Errorf("%s: %+v", test.name, c)
		}
	}
	if c := (&mqttFlags{}).conditions(nil, now); len(c) > 0 {
		t.Errorf("a node without an external broker has %v", c)
	}
}
