package main

import (
	"fmt"
	"maps"
	"strconv"
	"testing"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/examples/mappers/modbus/internal/simulator"
)

// BenchmarkPoints reads 1,000 registers again and again from the simulator, in eight requests,
// and makes their values as the SDK does.
func BenchmarkPoints(b *testing.B) {
	slaves := simulator.New(1000)
	address, stop, err := slaves.Listen()
	if err != nil {
		b.Fatal(err)
	}
	defer stop()
	var port int
	if _, err := fmt.Sscanf(address, "127.0.0.1:%d", &port); err != nil {
		b.Fatal(err)
	}
	dev := device.Instance{Spec: schema.DeviceSpec{Protocol: schema.Protocol{Config: options(b, connection{IP: "127.0.0.1", Port: port, SlaveID: 1, Timeout: 30_000})}}}
	var names []string
	for n := range 1000 {
		name := "r" + strconv.Itoa(n)
		names = append(names, name)
		dev.Spec.Properties = append(dev.Spec.Properties, schema.Property{Name: name, Visitors: &schema.Visitor{
			Config: options(b, map[string]any{"register": "HoldingRegister", "offset": n, "limit": 1})}})
		dev.Model.Properties = append(dev.Model.Properties, schema.ModelProperty{Name: name, Type: schema.TypeInt})
	}
	d := config().New().(*driver)
	if err := d.Open(b.Context(), dev); err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	registers := maps.Collect(d.points.All())
	points := 0
	began := time.Now()
	for b.Loop() {
		readings, err := d.ReadMany(b.Context(), names)
		if err != nil {
			b.Fatal(err)
		}
		for name, r := range readings {
			if r.Err != nil {
				b.Fatal(r.Err)
			}
			if _, err := registers[name].transform.Decode(r.Raw); err != nil {
				b.Fatal(err)
			}
			points++
		}
	}
	rate := float64(points) / time.Since(began).Seconds()
	b.ReportMetric(rate, "points/s")
	b.StopTimer()
	if b.N > 1 {
		fmt.Printf("RESULT modbus_points %.0f /s\n", rate)
	}
}
