package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
)

// TestTwinSelector: a source has the devices that its selector selects, also when labels or
// devices come later, and each value once.
func TestTwinSelector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newTwins("/none", slog.New(slog.DiscardHandler))
		report := func(device, value string, at int64) {
			c := &change{Device: device, Property: "temp"}
			c.Actual = &struct {
				Value string `json:"value"`
				Time  int64  `json:"time"`
			}{value, at}
			all.apply("property", c)
			synctest.Wait()
		}
		device := func(id string, labels map[string]string) wire.Device {
			namespace, name, _ := strings.Cut(id, "/")
			return wire.Device{Namespace: namespace, Name: name, Labels: labels}
		}
		pump := map[string]string{"kind": "pump"}
		report("plant/a", "a1", 1)
		report("plant/b", "b1", 1)
		all.setLabels([]wire.Device{device("plant/a", pump), device("other/x", pump), device("plant/b", nil)})
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var got []string
		var work sync.WaitGroup
		work.Go(func() {
			err := scopedTwins{all, "plant"}.Watch(ctx, v1alpha1.TwinSource{Selector: &metav1.LabelSelector{MatchLabels: pump}}, func(_ context.Context, v pipeline.TwinValue) error {
				mu.Lock()
				defer mu.Unlock()
				text, _ := v.Value.(string)
				got = append(got, text)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
		want := func(what, values string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if have := strings.Join(got, " "); have != values {
				t.Errorf("%s: %s, want %s", what, have, values)
			}
		}
		want("a pump", "a1")
		report("plant/b", "b2", 2)
		report("other/x", "x1", 1)
		report("plant/late", "l1", 1)
		want("others", "a1")
		all.setLabels([]wire.Device{device("plant/a", pump), device("plant/b", pump)})
		want("a new label", "a1 b2")
		all.setLabels([]wire.Device{device("plant/a", pump), device("plant/b", pump), device("plant/late", pump)})
		want("a new device", "a1 b2 l1")
		all.setLabels([]wire.Device{device("plant/b", pump)})
		report("plant/a", "a2", 2)
		report("plant/b", "b3", 3)
		want("one that is a pump no more", "a1 b2 l1 b3")
		cancel()
		work.Wait()
		bad := v1alpha1.TwinSource{Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Is"}}}}
		if err := (scopedTwins{all, "plant"}).Watch(t.Context(), bad, nil); err == nil || !strings.Contains(err.Error(), "twin.selector") {
			t.Error(err)
		}
	})
}
