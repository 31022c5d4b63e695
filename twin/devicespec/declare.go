package devicespec

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/history"
)

// silentCycles is after how many of its cycles without a report a value is stale, or a device
// silent; leastSilence is the least such time.
const (
	silentCycles = 3
	leastSilence = 30 * time.Second
)

// Declare returns the twin.Put for a device. The spec takes defaults from the
// model. Each property of the spec becomes a twin with the property's type and rules in the
// model. The desired values move from the spec to the twins. The caller may set
// the Member's Owner, Incarnation and Version.
//
// A property that names a cycle is stale when three cycles, or 30 s if that is more, have
// passed without a report of it. A device is silent when that is true of the property with
// the shortest cycle. A property or device without cycles is never stale.
func Declare(spec schema.DeviceSpec, model schema.DeviceModelSpec) (twin.Put, error) {
	full, err := spec.WithDefaults(model)
	if err != nil {
		return twin.Put{}, fmt.Errorf("twin/devicespec: %w", err)
	}
	put := twin.Put{Member: twin.Member{Protocol: full.Protocol.Name}, Properties: make([]twin.Declaration, 0, len(full.Properties))}
	for i := range full.Properties {
		p := &full.Properties[i]
		d := twin.Declaration{Name: p.Name, Type: twinType(model.Property(p.Name)), Rule: rule(p, model.Property(p.Name))}
		d.Rule.NotInModel = len(model.Properties) > 0 && model.Property(p.Name) == nil
		if stale := d.Rule.StaleAfter; stale > 0 && (put.Member.ReportWithin == 0 || stale < put.Member.ReportWithin) {
			put.Member.ReportWithin = stale
		}
		if p.Desired != nil {
			d.Desired = twin.Text(p.Desired.Value)
			p.Desired = nil
		}
		put.Properties = append(put.Properties, d)
	}
	if put.Member.Spec, err = json.Marshal(full); err != nil {
		return twin.Put{}, fmt.Errorf("twin/devicespec: spec: %w", err)
	}
	if put.Member.Model, err = json.Marshal(model); err != nil {
		return twin.Put{}, fmt.Errorf("twin/devicespec: model: %w", err)
	}
	return put, nil
}

// twinType returns the twin's name of a property's type.
func twinType(p *schema.ModelProperty) string {
	if p == nil || p.Type == "" {
		return "string"
	}
	return strings.ToLower(string(p.Type))
}

// rule returns what the twin enforces of a property; m is nil if the model does not have it.
func rule(p *schema.Property, m *schema.ModelProperty) twin.Rule {
	var r twin.Rule
	if m != nil {
		r = twin.Rule{Minimum: m.Minimum, Maximum: m.Maximum, ReadOnly: m.AccessMode != schema.ReadWrite, ReportAlways: m.ReportAlways}
		if m.History != nil {
			r.History = history.Limit{Values: m.History.Values, Duration: m.History.MaxAge()}
		}
		if m.DesiredBy != schema.DesiredByBoth {
			r.Authority = twin.Authority(m.DesiredBy)
		}
	}
	if cycle := max(p.Collect(), p.Report()); cycle > 0 {
		r.StaleAfter = max(silentCycles*cycle, leastSilence)
	}
	return r
}

// Instance returns the device that Declare described, with the desired values that
// it has now. A device that was put without a spec has an empty one.
func Instance(d twin.Device) (device.Instance, error) {
	dev := device.Instance{ID: d.ID, Desired: make(map[string]string)}
	if len(d.Member.Spec) > 0 {
		if err := jsonlimit.Unmarshal(d.Member.Spec, &dev.Spec); err != nil {
			return dev, fmt.Errorf("twin/devicespec: spec of %s: %w", d.ID, err)
		}
	}
	if len(d.Member.Model) > 0 {
		if err := jsonlimit.Unmarshal(d.Member.Model, &dev.Model); err != nil {
			return dev, fmt.Errorf("twin/devicespec: model of %s: %w", d.ID, err)
		}
	}
	for name, t := range d.Twins {
		if !t.Deleted && t.Expected != nil && t.Expected.Value != "" {
			dev.Desired[name] = t.Expected.Value
		}
	}
	return dev, nil
}
