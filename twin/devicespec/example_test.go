package devicespec_test

import (
	"fmt"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/twin/devicespec"
)

func ExampleDeclare() {
	put, err := devicespec.Declare(
		device.Spec{Properties: []device.Property{{Name: "target", Desired: &device.Value{Value: "45"}}}},
		device.ModelSpec{Protocol: "modbus", Properties: []device.ModelProperty{{Name: "target", Type: device.TypeInt}}},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	p := put.Properties[0]
	fmt.Println(p.Name, p.Type, *p.Desired)
	// Output: target int 45
}
