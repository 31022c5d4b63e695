package devices

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/internal/summary"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// maxStored is the size in bytes of the largest status that is written. etcd takes requests
// of 1.5 MiB by default; the owners of all fields (managedFields) come on top.
const maxStored = 1_000_000

// Reasons of the condition ValuesStored.
const (
	ReasonTooLarge = "TooLarge" // together the values are too large for one object
	ReasonRefused  = "Refused"  // the API server refuses the report
)

// composed is a report as it is written.
type composed struct {
	status v1beta1.DeviceStatusStatus
	sum    [sha256.Size]byte // of status as JSON, as it was before refuse
	since  time.Time
}

// composeReport returns a node's report as it is written. If it is too large for one
// object, the largest values are left out, and the condition ValuesStored names them.
// since is for how long that has been so; zero means since now.
func composeReport(body []byte, since time.Time) (*composed, error) {
	c := &composed{since: since}
	if since.IsZero() {
		c.since = time.Now()
	}
	if err := jsonlimit.Unmarshal(body, &c.status); err != nil {
		return nil, err
	}
	// A list with two entries of a key cannot be applied: the last one counts.
	c.status.Twins = lastOfEach(c.status.Twins, func(t schema.Twin) string { return t.PropertyName })
	c.status.Conditions = lastOfEach(c.status.Conditions, func(c metav1.Condition) string { return c.Type })
	if len(c.status.Conditions) > maxNodeConditions {
		c.status.Conditions = c.status.Conditions[:maxNodeConditions]
	}
	for i := range c.status.Conditions {
		if cond := &c.status.Conditions[i]; cond.LastTransitionTime.IsZero() {
			cond.LastTransitionTime = metav1.NewTime(time.Unix(0, 0).UTC()) // the field is required
		}
	}
	if len(body) > maxStored {
		c.trim(len(body))
	}
	text, err := json.Marshal(c.status)
	c.sum = sha256.Sum256(text)
	return c, err
}

// lastOfEach returns the last of the items of each key, in the order of the list.
func lastOfEach[T any](list []T, key func(T) string) []T {
	last := make(map[string]int, len(list))
	for i, item := range list {
		last[key(item)] = i
	}
	if len(last) == len(list) {
		return list
	}
	out := make([]T, 0, len(last))
	for i, item := range list {
		if last[key(item)] == i {
			out = append(out, item)
		}
	}
	return out
}

// trim leaves out the largest values until the report fits.
func (c *composed) trim(size int) {
	bySize := make([]int, len(c.status.Twins))
	for i := range bySize {
		bySize[i] = i
	}
	slices.SortStableFunc(bySize, func(a, b int) int { return cmp.Compare(twinSize(c.status.Twins[b]), twinSize(c.status.Twins[a])) })
	var names []string
	for _, i := range bySize {
		if size <= maxStored {
			break
		}
		t := &c.status.Twins[i]
		size -= twinSize(*t)
		names = append(names, t.PropertyName)
		*t = schema.Twin{PropertyName: t.PropertyName, Reported: &schema.Value{Metadata: map[string]string{"omitted": "too large"}}}
	}
	if size > maxStored {
		c.status.Extensions = nil
		names = append(names, "extensions")
	}
	slices.Sort(names)
	c.notStored(ReasonTooLarge, fmt.Sprintf("a DeviceStatus holds %d bytes; left out: %s. kubectl get twins has them; set reportToCloud of large properties to false", maxStored, summary.Shorten(strings.Join(names, ", "), 512)))
}

// twinSize is about how many bytes a twin has as JSON.
func twinSize(t schema.Twin) int {
	size := 0
	for _, v := range []*schema.Value{t.Reported, t.ObservedDesired} {
		if v == nil {
			continue
		}
		size += len(v.Value)
		for k, m := range v.Metadata {
			size += len(k) + len(m)
		}
	}
	return size
}

// refuse leaves out all values, because the API server refuses the report.
func (c *composed) refuse(why error) {
	c.status.Twins, c.status.Extensions = nil, nil
	c.status.Conditions = slices.DeleteFunc(c.status.Conditions, func(cond metav1.Condition) bool { return !storable(cond) })
	c.notStored(ReasonRefused, summary.Shorten("the API server refuses the node's report: "+why.Error(), 1024))
}

// storable reports whether the schema of DeviceStatus allows a condition of a node.
func storable(cond metav1.Condition) bool {
	switch cond.Status {
	case metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown:
	default:
		return false
	}
	typeForm := regexp.MustCompile(`^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$`)
	reasonForm := regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$`)
	return len(cond.Type) <= 316 && typeForm.MatchString(cond.Type) &&
		len(cond.Reason) <= 1024 && reasonForm.MatchString(cond.Reason) &&
		len(cond.Message) <= 32768 && cond.ObservedGeneration >= 0
}

func (c *composed) notStored(reason, message string) {
	apimeta.SetStatusCondition(&c.status.Conditions, metav1.Condition{
		Type: v1beta1.ConditionValuesStored, Status: metav1.ConditionFalse, Reason: reason, Message: message,
		LastTransitionTime: metav1.NewTime(c.since.UTC().Truncate(time.Second)),
	})
}

// unstoredSince is when values could no longer be stored; zero if all are in the report.
func (c *composed) unstoredSince() time.Time {
	if apimeta.FindStatusCondition(c.status.Conditions, v1beta1.ConditionValuesStored) == nil {
		return time.Time{}
	}
	return c.since
}

// bad returns the types of the node's conditions that are False. Enabled is not one of them: it
// is False because somebody wants it so.
func (c *composed) bad() (types []string) {
	for _, cond := range c.status.Conditions {
		if cond.Status == metav1.ConditionFalse && nodeOwns(cond.Type) && cond.Type != conditionEnabled {
			types = append(types, cond.Type)
		}
	}
	return types
}
