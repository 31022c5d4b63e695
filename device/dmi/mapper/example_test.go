package mapper_test

import (
	"fmt"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/dmi/mapper"
)

// A mapper gets its devices over DMI: its Link is given to device.Run with a driver.
func ExampleNew() {
	link, err := mapper.New(mapper.Config{Name: "lamps", Protocol: "lamp", Socket: "/run/lamps/dmi.sock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg := device.Config{Protocol: "lamp", Link: link} // and New, which makes a driver
	fmt.Println(cfg.Protocol)
	// Output: lamp
}
