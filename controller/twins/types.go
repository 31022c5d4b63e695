package twins

import (
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/edgekit/edgekit/controller/internal/summary"
	"github.com/edgekit/edgekit/device/v1beta1"
)

// The resource as Kubernetes names it.
const (
	Group    = "twins.edgekit.io"
	Version  = "v1"
	Resource = "twins"
)

const groupVersion = Group + "/" + Version

// Twin is a device with its newest values, as clients read it.
type Twin struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	// Node that the device hangs on.
	Node string `json:"node,omitempty"`
	// Received is when cloudcore got the values; nil if it read them from the DeviceStatus.
	Received *metav1.MicroTime `json:"received,omitempty"`
	// Truncated says that cloudcore has no room for the values.
	Truncated bool `json:"truncated,omitempty"`
	// Status is what the node reported.
	Status v1beta1.DeviceStatusStatus `json:"status"`
}

// answered is a Twin as it is written: the status is JSON already.
type answered struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Node              string            `json:"node,omitempty"`
	Received          *metav1.MicroTime `json:"received,omitempty"`
	Truncated         bool              `json:"truncated,omitempty"`
	Status            json.RawMessage   `json:"status"`
}

// metadata of a Twin is that of its Device, as far as it is of use.
func metadata(r Report, version uint64) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: r.Namespace, Name: r.Name, UID: r.UID, Labels: r.Labels, CreationTimestamp: r.Created, ResourceVersion: text(version),
	}
}

func object(r Report, version uint64, truncated bool) answered {
	a := answered{
		TypeMeta: metav1.TypeMeta{Kind: "Twin", APIVersion: groupVersion}, ObjectMeta: metadata(r, version),
		Node: r.Node, Truncated: truncated, Status: r.Status,
	}
	if len(a.Status) == 0 {
		a.Status = json.RawMessage("{}")
	}
	if !r.Received.IsZero() {
		at := metav1.NewMicroTime(r.Received)
		a.Received = &at
	}
	return a
}

// columns of the tables that kubectl prints.
func columns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		{Name: "Name", Type: "string", Format: "name", Description: "The name of the Device."},
		{Name: "Node", Type: "string", Description: "The edge node that the device hangs on."},
		{Name: "State", Type: "string", Description: "online, offline, ok, unknown or unhealthy, as last reported."},
		{Name: "Received", Type: "string", Description: "How long ago cloudcore received the values; empty if it read them from the DeviceStatus."},
		{Name: "Values", Type: "string", Description: "The reported values."},
	}
}

func row(r Report, version uint64, now time.Time) metav1.TableRow {
	var status v1beta1.DeviceStatusStatus
	_ = json.Unmarshal(r.Status, &status) // it was made from such a value
	received := ""
	if !r.Received.IsZero() {
		received = duration.HumanDuration(max(now.Sub(r.Received), 0))
	}
	partial := &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"},
		ObjectMeta: metadata(r, version),
	}
	return metav1.TableRow{Cells: []any{r.Name, r.Node, status.State, received, summary.Values(status.Twins)}, Object: runtime.RawExtension{Object: partial}}
}

// newTable makes a table of rows.
func newTable(version uint64, withColumns bool, rows []metav1.TableRow) *metav1.Table {
	t := &metav1.Table{
		TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: "meta.k8s.io/v1"},
		ListMeta: metav1.ListMeta{ResourceVersion: text(version)}, Rows: rows,
	}
	if withColumns {
		t.ColumnDefinitions = columns()
	}
	for i := range t.Rows { // the encoder takes bytes
		raw, err := json.Marshal(t.Rows[i].Object.Object)
		if err != nil {
			raw = fmt.Appendf(nil, "{}")
		}
		t.Rows[i].Object = runtime.RawExtension{Raw: raw}
	}
	return t
}
