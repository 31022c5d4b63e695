package mqtt_test

import (
	"fmt"

	"github.com/edgekit/edgekit/device/push"
	"github.com/edgekit/edgekit/device/push/mqtt"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// A mapper opens Devices' mqtt push methods with it: push.Config.Open names it. An error names the
// field of the Device.
func ExampleOpen() {
	open := map[string]push.Opener{push.MethodMQTT: mqtt.Open}
	_, err := open[push.MethodMQTT](schema.PushMethod{MQTT: &schema.PushMQTT{Address: "tcp://broker:1883", Topic: "values/#"}}, nil)
	fmt.Println(err)
	// Output: device/push/mqtt: pushMethod.mqtt.topic "values/#" is no topic: use one without wildcards
}
