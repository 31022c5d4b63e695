package main

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/device/dmi"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// TestDMIFlags has the settings of DMI, right and wrong.
func TestDMIFlags(t *testing.T) {
	engine, err := twin.New(twin.Config{Store: memstore.New()})
	if err != nil {
		t.Fatal(err)
	}
	n := new(node) // the flags are looked at first; nothing runs
	for _, tt := range []struct {
		flags dmiFlags
		on    bool
		says  string
	}{
		{dmiFlags{DMIReports: 256}, false, ""},
		{dmiFlags{DMIListen: "unix:///etc/kubeedge/dmi.sock", DMIReports: 256}, true, ""},
		{dmiFlags{DMIListen: "/etc/kubeedge/dmi.sock", DMIGroup: "12345", DMIReports: 1}, true, ""},
		{dmiFlags{DMIListen: "/etc/kubeedge/dmi.sock", DMIGroup: "root", DMIReports: 1}, true, ""},
		{dmiFlags{DMIGroup: "root", DMIReports: 1}, false, "dmi-listen"},
		{dmiFlags{DMIListen: "/a", DMIGroup: "no such group", DMIReports: 1}, false, "groupadd"},
		{dmiFlags{DMIListen: "/a", DMIGroup: "0", DMIReports: 1}, false, "at least 1"},
		{dmiFlags{DMIListen: "/a"}, false, "dmi-reports"},
		{dmiFlags{DMIListen: "tcp://127.0.0.1:1", DMIReports: 1}, false, "unix socket"},
	} {
		m, err := tt.flags.dmi(n, engine, nil, slog.New(slog.DiscardHandler))
		if (m != nil) != tt.on || (err != nil) != (tt.says != "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: got %v, %v", tt.flags, m != nil, err)
		}
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(newDMIMetrics(func() dmi.Stats { return dmi.Stats{Mappers: 1} }))
	if families, err := r.Gather(); err != nil || len(families) != 9 {
		t.Errorf("%d metrics, %v", len(families), err)
	}
}
