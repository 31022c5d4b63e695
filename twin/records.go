package twin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/edgekit/edgekit/meta"
)

// The records of the store. A device has one of its own and one for each
// twin, so that an update writes only what it touches:
//
//	local/twin/device/<namespace>/<name>
//	local/twin/twin/<namespace>/<name>/<property>
//
// Properties may have slashes in their names.
const (
	area       = meta.Local + "twin/"
	deviceArea = area + "device/"
	twinArea   = area + "twin/"
)

// deviceRecord is the JSON of a device without its twins.
type deviceRecord struct {
	Member      Member        `json:"member"`
	State       string        `json:"state,omitempty"`
	Within      time.Duration `json:"within,omitempty"`
	SilentState string        `json:"silentState,omitempty"`
	LastOnline  time.Time     `json:"lastOnline,omitzero"`
	LastReport  time.Time     `json:"lastReport,omitzero"`
	Conditions  []Condition   `json:"conditions,omitempty"`
}

// opList gathers the records that a batch writes, each once: what is written is the last form
// of a device.
type opList struct {
	keys []recordName
	seen map[recordName]struct{}
}

// recordName names the record of a twin, or with twin false that of a device.
type recordName struct {
	device, property string
	twin             bool
}

func (n recordName) key() string {
	if n.twin {
		return twinArea + n.device + "/" + n.property
	}
	return deviceArea + n.device
}

func newOps() *opList { return &opList{seen: make(map[recordName]struct{})} }

func (o *opList) set(n recordName) {
	if _, ok := o.seen[n]; !ok {
		o.seen[n] = struct{}{}
		o.keys = append(o.keys, n)
	}
}

// add notes what save asks of the device with the given id.
func (o *opList) add(id string, save Save) {
	if save.Device {
		o.set(recordName{device: id})
	}
	for _, name := range save.Twins {
		o.set(recordName{device: id, property: name, twin: true})
	}
}

// list returns the ops that write what was noted of the given devices.
func (o *opList) list(devices map[string]*working) ([]meta.Op, error) {
	ops := make([]meta.Op, 0, len(o.keys))
	for _, n := range o.keys {
		op, d := meta.Op{Key: n.key()}, &devices[n.device].device
		var err error
		switch t, ok := d.Twins[n.property]; {
		case n.twin && ok:
			op.Value, err = t.appendJSON(make([]byte, 0, 256))
		case !n.twin && d.ID != "":
			op.Value, err = json.Marshal(deviceRecord{
				Member: d.Member, State: d.State, Within: d.Within, SilentState: d.SilentState, LastOnline: d.LastOnline, LastReport: d.LastReport,
				Conditions: d.Conditions,
			})
		default:
			op.Delete = true
		}
		if err != nil {
			return nil, fmt.Errorf("record %s: %w", op.Key, err)
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// load reads all devices. The records are the node's own: list wrote them, from input that
// was bounded when it arrived, so they are decoded without a limit. A record that cannot be
// read is logged and left out: one bad record must not keep a node from starting.
func load(ctx context.Context, store meta.Store, log *slog.Logger) (map[string]Device, error) {
	records, _, err := store.List(ctx, area)
	if err != nil {
		return nil, err
	}
	devices := make(map[string]Device)
	for _, r := range records { // "device/" sorts before "twin/"
		if err := loadRecord(devices, r); err != nil {
			log.Error("twin record is skipped", "key", r.Key, "err", err)
		}
	}
	return devices, nil
}

func loadRecord(devices map[string]Device, r meta.Record) error {
	if id, ok := strings.CutPrefix(r.Key, deviceArea); ok {
		var record deviceRecord
		if err := CheckID(id); err != nil {
			return err
		}
		if err := json.Unmarshal(r.Value, &record); err != nil {
			return err
		}
		devices[id] = Device{
			ID: id, Member: record.Member, State: record.State, Within: record.Within, SilentState: record.SilentState,
			LastOnline: record.LastOnline, LastReport: record.LastReport, Conditions: record.Conditions, Twins: make(map[string]Twin),
		}
		return nil
	}
	path, ok := strings.CutPrefix(r.Key, twinArea)
	parts := strings.SplitN(path, "/", 3)
	if !ok || len(parts) != 3 {
		return fmt.Errorf("it is neither a device nor a twin")
	}
	d, ok := devices[parts[0]+"/"+parts[1]]
	if !ok {
		return fmt.Errorf("its device is not known")
	}
	if err := CheckName(parts[2]); err != nil {
		return err
	}
	var t Twin
	if err := json.Unmarshal(r.Value, &t); err != nil {
		return err
	}
	d.Twins[parts[2]] = t
	return nil
}
