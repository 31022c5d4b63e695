package schema_test

import (
	"encoding/json"
	"fmt"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// A driver reads its own part of a device's spec.
func ExampleOptions_Decode() {
	var spec schema.DeviceSpec
	err := json.Unmarshal([]byte(`{"protocol":{"protocolName":"modbus","configData":{"ip":"10.1.1.5"}}}`), &spec)
	if err != nil {
		fmt.Println(err)
		return
	}
	connection := struct {
		IP   string
		Port int
	}{Port: 502} // the default
	if err := spec.Protocol.Config.Decode(&connection); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(connection.IP, connection.Port)
	// Output: 10.1.1.5 502
}
