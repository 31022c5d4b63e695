package devicespec_test

import (
	"fmt"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/twin/devicespec"
)

func ExampleDeclare() {
	put, err := devicespec.Declare(
		schema.DeviceSpec{Properties: []schema.Property{{Name: "target", Desired: &schema.Value{Value: "45"}}}},
		schema.DeviceModelSpec{Protocol: "modbus", Properties: []schema.ModelProperty{{Name: "target", Type: schema.TypeInt, AccessMode: schema.ReadWrite}}},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	p := put.Properties[0]
	fmt.Println(p.Name, p.Type, *p.Desired)
	// Output: target int 45
}
