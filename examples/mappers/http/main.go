package main

import (
	"os"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/examples/mappers/internal/program"
)

func main() {
	os.Exit(program.Main(config()))
}

// config is the mapper without its link.
func config() device.Config {
	return device.Config{Protocol: "http", New: func() device.Driver { return new(driver) }}
}
