package pipeline

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// failures are the last failures of one pipeline, the newest last.
type failures struct {
	all []v1alpha1.Failure
}

// add records a failure at a time and reports whether there was none of its step and reason.
func (f *failures) add(one v1alpha1.Failure, now time.Time) (first bool) {
	one.Time, one.Count = metav1.NewTime(now.Truncate(time.Second)), 1
	i := slices.IndexFunc(f.all, func(o v1alpha1.Failure) bool {
		return o.Step == one.Step && o.Reason == one.Reason && (one.Reason != v1alpha1.ReasonInvalid || o.Message == one.Message)
	})
	if i >= 0 {
		one.Count += f.all[i].Count
		f.all = slices.Delete(f.all, i, i+1)
	}
	f.all = append(f.all, one)
	if len(f.all) > v1alpha1.MaxFailures {
		f.all = slices.Delete(f.all, 0, 1)
	}
	return i < 0
}

func (f *failures) remove(step, reason string) (changed bool) {
	n := len(f.all)
	f.all = slices.DeleteFunc(f.all, func(o v1alpha1.Failure) bool { return o.Step == step && o.Reason == reason })
	return len(f.all) < n
}

// list returns them, the newest first.
func (f *failures) list() []v1alpha1.Failure {
	out := slices.Clone(f.all)
	slices.Reverse(out)
	return out
}

// cut shortens a text to n bytes of valid UTF-8.
func cut(text string, n int) string {
	if len(text) > n {
		text = text[:n] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}

// brief is the begin of an event for a status.
func brief(e *Event) string {
	if e == nil || e.ID == "" && e.Data == nil {
		return ""
	}
	data, _ := shorten(e.Data, 200)
	raw, err := json.Marshal(struct {
		ID      string `json:"id"`
		Subject string `json:"subject,omitempty"`
		Data    any    `json:"data"`
	}{cut(e.ID, 100), cut(e.Subject, 100), data})
	if err != nil {
		return cut(e.ID, 200)
	}
	return cut(string(raw), 400)
}
