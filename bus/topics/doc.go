// Package topics has the MQTT topics below $hw/events and their JSON payloads.
// Topics and payloads are KubeEdge's. twin/mqtt answers on them, device/mqtt and
// apps ask on them, and edgecore publishes the state of its link.
//
//	topic := topics.Device("plant/boiler", topics.TwinUpdate)
//	payload, err := json.Marshal(topics.TwinUpdateMessage{
//		Twin: map[string]*topics.Twin{"temperature": {Actual: topics.Text("21")}},
//	})
//
// # Topics
//
// Device and Node build a topic from an action, which is the part after the
// device or the node. The result of a request is published on Result(action).
//
// # Values
//
// All values are text: "21", "21.5", "true". Times are milliseconds since 1970.
// A Twin that is null in a TwinUpdateMessage deletes the property. A Twin that is
// null in a result or a document is deleted.
//
// The functions have no state and may be called by several goroutines at once.
package topics
