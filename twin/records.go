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
}

// opList gathers the ops of a batch; a later one for the same key replaces
// the earlier.
type opList struct {
	keys  []string
	value map[string]any // nil deletes
}

func newOps() *opList { return &opList{value: make(map[string]any)} }

func (o *opList) set(key string, value any) {
	if _, ok := o.value[key]; !ok {
		o.keys = append(o.keys, key)
	}
	o.value[key] = value
}

// add puts down what save asks of the device with the given id.
func (o *opList) add(id string, d Device, save Save) {
	if save.Device {
		if d.ID == "" {
			o.set(deviceArea+id, nil)
		} else {
			o.set(deviceArea+id, deviceRecord{Member: d.Member, State: d.State, Within: d.Within, SilentState: d.SilentState, LastOnline: d.LastOnline, LastReport: d.LastReport})
		}
	}
	for _, name := range save.Twins {
		if t, ok := d.Twins[name]; ok {
			o.set(twinArea+id+"/"+name, t)
		} else {
			o.set(twinArea+id+"/"+name, nil)
		}
	}
}

func (o *opList) list() ([]meta.Op, error) {
	ops := make([]meta.Op, 0, len(o.keys))
	for _, key := range o.keys {
		op := meta.Op{Key: key, Delete: o.value[key] == nil}
		if !op.Delete {
			var err error
			if op.Value, err = json.Marshal(o.value[key]); err != nil {
				return nil, fmt.Errorf("record %s: %w", key, err)
			}
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
			log.Error("twin record is skipped", "key", r.Key, "error", err)
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
			LastOnline: record.LastOnline, LastReport: record.LastReport, Twins: make(map[string]Twin),
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
