package kubesecrets_test

import (
	"fmt"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/kubesecrets"
)

// A mapper whose devices' secretRefs are read from the node's own API.
func Example() {
	secrets, err := kubesecrets.New(kubesecrets.Config{Server: "https://169.254.30.10:10550"})
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg := device.Config{Protocol: "modbus", Secrets: secrets} // and New, Link
	fmt.Println(cfg.Secrets != nil)
	// Output: true
}
