package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/meta/resources"
)

// lostFor is how long the external MQTT broker may be away before the Node says so.
const lostFor = 10 * time.Second

// conditions are the Node's condition of the external MQTT broker; none without one. As with
// the pressures, False is good. Times are left to the agent.
func (r *mqttFlags) conditions(outside *client.Client, now time.Time) []corev1.NodeCondition {
	if outside == nil {
		return nil
	}
	return []corev1.NodeCondition{brokerCondition(r.MQTTBroker, outside.Status(), now)}
}

// brokerCondition says what an operator needs to know and do.
func brokerCondition(broker string, s client.Status, now time.Time) corev1.NodeCondition {
	c := corev1.NodeCondition{Type: resources.ConditionMQTT, Status: corev1.ConditionTrue, Reason: s.Reason}
	var remedy string
	switch s.Reason {
	case "", client.ReasonConnectionLost, client.ReasonUnreachable, client.ReasonNoAnswer:
		if s.Connected || now.Sub(s.Since) < lostFor {
			c.Status, c.Reason, c.Message = corev1.ConditionFalse, "BrokerConnected", "external MQTT broker "+broker+" is connected"
			return c
		}
		remedy = "check that it runs and that this node reaches it"
	case client.ReasonStarting:
		c.Status, c.Message = corev1.ConditionUnknown, "external MQTT broker "+broker+": the first connection is being made"
		return c
	case client.ReasonBadCredentials:
		remedy = "check mqtt-broker-username and mqtt-broker-password-file of edgecore"
	case client.ReasonNotAuthorized:
		remedy = "check what the broker allows this user, and mqtt-broker-client-id of edgecore"
	case client.ReasonTLSFailed:
		remedy = "check mqtt-broker-ca, mqtt-broker-cert and the broker's certificate"
	default:
		remedy = "see the broker's log"
	}
	c.Message = fmt.Sprintf("external MQTT broker %s: %s: %s; messages for it wait on this node", broker, cause(s.Err), remedy)
	return c
}

// cause is what an error says without addresses and ports of one connection: the condition
// must not change with each try.
func cause(err error) string {
	var operation *net.OpError
	if errors.As(err, &operation) {
		return operation.Op + ": " + operation.Err.Error()
	}
	if err == nil {
		return "connection lost"
	}
	return err.Error()
}
