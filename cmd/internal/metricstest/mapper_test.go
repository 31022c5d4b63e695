package metricstest_test

import (
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/metricstest"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/metrics"
)

//go:generate env EDGEKIT_UPDATE=1 go test -count=1 -run ^TestMapperTable$ .

// TestMapperTable: the published table has what a mapper serves.
func TestMapperTable(t *testing.T) {
	m, err := device.New(device.Config{Protocol: "memory", New: func() device.Driver { return nil }, Link: &devicetest.Link{}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := metrics.New(m)
	if err != nil {
		t.Fatal(err)
	}
	metricstest.Table{Program: "mapper", Rows: metricstest.Read(t, nil, c)}.Check(t)
}
