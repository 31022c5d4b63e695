// Package mqtt is the sink of pushMethod.mqtt: it publishes each reading at a broker, as JSON:
//
//	{"device":"plant/boiler","property":"temperature","value":"21","type":"INT","timestamp":1760000000000}
//
// A mapper that wants it names Open in push.Config.Open:
//
//	push.Config{Open: map[string]push.Opener{push.MethodMQTT: mqtt.Open}}
package mqtt
