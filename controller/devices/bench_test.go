package devices_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/hub"
)

// TestStatusWrites: many devices report once a second, each time other values. The API
// server gets at most 100 writes a second, every device gets its turn, and what is written is
// the newest value. Time is that of a bubble.
func TestStatusWrites(t *testing.T) {
	devices, seconds := 300, 8
	if os.Getenv("BENCH") != "" {
		devices, seconds = 10000, 210
	}
	synctest.Test(t, func(t *testing.T) {
		objects := []runtime.Object{model("m")}
		for i := range devices {
			d := boiler("n", "m")
			d.Name = "d" + strconv.Itoa(i)
			objects = append(objects, d)
		}
		w := start(t, objects...)
		defer w.Source("n").Subscribe(func(hub.Key) {})()
		<-time.After(time.Duration(devices/100+5) * time.Second) // each gets its condition
		write := w.Writers()["devicestatuses"]
		before, begin := w.count(), time.Now()
		for second := range seconds {
			body := report(t, strconv.Itoa(second)).Body
			for i := range devices {
				key := hub.Key{Resource: "devicestatuses", Namespace: "plant", Name: "d" + strconv.Itoa(i)}
				if err := write(t.Context(), "n", hub.Object{Key: key, Body: body}); err != nil {
					t.Fatal(err)
				}
			}
			<-time.After(time.Until(begin.Add(time.Duration(second+1) * time.Second)))
		}
		writes := w.since(before, "")
		perSecond := make(map[int]int)
		written := make(map[string]int)
		most := 0
		for _, one := range writes {
			at := int(one.at.Sub(begin) / time.Second)
			perSecond[at]++
			most = max(most, perSecond[at])
			if one.resource != "devicestatuses" {
				continue
			}
			written[one.name]++
			value := one.status["twins"].([]any)[0].(map[string]any)["reported"].(map[string]any)["value"].(string)
			if n, err := strconv.Atoi(value); err != nil || n < at-1 {
				t.Errorf("%s was written in second %d with the value of second %s", one.name, at, value)
			}
		}
		least, mostTurns := seconds, 0
		for i := range devices {
			n := written["d"+strconv.Itoa(i)]
			least, mostTurns = min(least, n), max(mostTurns, n)
		}
		if most > 101 || least == 0 || mostTurns > least+1 {
			t.Errorf("at most %d writes in a second; devices had %d to %d turns", most, least, mostTurns)
		}
		if os.Getenv("BENCH") != "" {
			fmt.Printf("RESULT status_writes_%d %.1f writes/s\n", devices, float64(len(writes))/float64(seconds))
			fmt.Printf("RESULT status_writes_%d_most %d writes/s\n", devices, most)
		}
	})
}

func TestSameForNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t, boiler("n", "m"), model("m"))
		settle()
		told := 0
		defer w.Source("n").Subscribe(func(hub.Key) { told++ })()
		version := func() string {
			versions, err := w.Source("n").Versions(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for key, v := range versions {
				if key == deviceKey {
					return v
				}
			}
			return ""
		}
		before := version()
		d := boiler("n", "m")
		d.ResourceVersion = "700"
		d.Status = v1beta1.Summary{State: "online", Values: "a=1"}
		w.update(t, "devices", d)
		settle()
		if told != 0 || version() != before {
			t.Errorf("a summary is sent to the node: told %d times, version %s after %s", told, version(), before)
		}
	})
}
