package main

import (
	"fmt"
	"log/slog"
	"os/user"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/statsmetrics"
	"github.com/edgekit/edgekit/device/dmi"
	"github.com/edgekit/edgekit/twin"
)

// dmiFlags are the settings of KubeEdge's device management interface.
type dmiFlags struct {
	DMIListen  string `help:"Unix socket on which mappers connect with KubeEdge's DMI (gRPC). unix:///etc/kubeedge/dmi.sock is where mappers of KubeEdge look for it. Empty: not served; mappers use MQTT." name:"dmi-listen" placeholder:"URL"`
	DMIGroup   string `help:"Group, by name or number, that may open that socket besides root: mappers that do not run as root. Empty: root alone." name:"dmi-group" placeholder:"GROUP"`
	DMIReports int    `help:"How many reports of one mapper may be in work at once; the next is refused with RESOURCE_EXHAUSTED." name:"dmi-reports" default:"256"`
}

// dmi makes the Manager of mappers that speak DMI; nil if that is off.
func (f *dmiFlags) dmi(n *node, engine *twin.Engine, claims dmi.Claims, log *slog.Logger) (*dmi.Manager, error) {
	if f.DMIListen == "" {
		if f.DMIGroup != "" {
			return nil, &program.UsageError{Setting: "dmi-group", Reason: "there is no socket that the group could open: set dmi-listen too"}
		}
		return nil, nil
	}
	group, err := groupNumber(f.DMIGroup)
	if err != nil {
		return nil, &program.UsageError{Setting: "dmi-group", Reason: err.Error()}
	}
	if f.DMIReports < 1 {
		return nil, &program.UsageError{Setting: "dmi-reports", Reason: fmt.Sprintf("%d: give a number of at least 1", f.DMIReports)}
	}
	m, err := dmi.New(dmi.Config{Engine: engine, Store: n.store, Socket: f.DMIListen, Group: group, Reports: f.DMIReports, Claims: claims, Logger: component(log, "dmi")})
	if err != nil {
		return nil, &program.UsageError{Setting: "dmi-listen", Reason: err.Error()}
	}
	return m, nil
}

// groupNumber finds the number of a group; 0 if no group is named.
func groupNumber(name string) (int, error) {
	if name == "" {
		return 0, nil
	}
	if number, err := strconv.Atoi(name); err == nil {
		if number < 1 {
			return 0, fmt.Errorf("%d: give the number of a group, at least 1", number)
		}
		return number, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("%q is no group of this machine: create it with groupadd, or give a number", name)
	}
	return strconv.Atoi(g.Gid)
}

// newDMIMetrics makes the metrics of a Manager.
func newDMIMetrics(stats func() dmi.Stats) prometheus.Collector {
	m := statsmetrics.New("edgecore_dmi_", stats)
	m.Gauge("mappers", "Mappers that are registered.", func(s dmi.Stats) float64 { return float64(s.Mappers) })
	m.Gauge("mappers_connected", "Mappers that are registered and can be called.", func(s dmi.Stats) float64 { return float64(s.Connected) })
	m.Gauge("devices", "Devices that belong to a mapper.", func(s dmi.Stats) float64 { return float64(s.Devices) })
	m.Counter("reports_total", "Reports of mappers that were stored.", func(s dmi.Stats) float64 { return float64(s.Reports) })
	m.Counter("reports_refused_total", "Reports of mappers with a value or state that was refused.", func(s dmi.Stats) float64 { return float64(s.Refused) })
	m.Counter("reports_exhausted_total", "Reports over the limit of their mapper.", func(s dmi.Stats) float64 { return float64(s.Exhausted) })
	m.Counter("values_untimed_total", "Values whose timestamp was not kept: it is no number of milliseconds, before 2000, or more than a minute ahead of the node's clock.", func(s dmi.Stats) float64 { return float64(s.Untimed) })
	m.Counter("calls_total", "Calls to mappers.", func(s dmi.Stats) float64 { return float64(s.Calls) })
	m.Counter("calls_failed_total", "Calls to mappers that failed.", func(s dmi.Stats) float64 { return float64(s.Failed) })
	return m
}
