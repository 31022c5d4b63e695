package tour

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

func TestStepsAreWhole(t *testing.T) {
	for i, s := range New(nil).Steps() {
		if s.Title == "" || s.do == nil || s.Within <= 0 || len(s.See) == 0 {
			t.Errorf("step %d lacks something: %+v", i+1, s)
		}
	}
}

func TestManifestsAgreeWithTheNames(t *testing.T) {
	for _, want := range []string{"namespace: " + Namespace, "app: " + App} {
		if !strings.Contains(appYAML, want) {
			t.Errorf("app.yaml lacks %q", want)
		}
	}
	for _, want := range []string{"nodeName: " + Node, "name: " + Device} {
		if !strings.Contains(deviceYAML, want) {
			t.Errorf("device.yaml lacks %q", want)
		}
	}
}

func TestOnDuty(t *testing.T) {
	now := time.UnixMilli(1000)
	value := func(v string, ms int64) *site.Value {
		x := &site.Value{Value: v}
		x.Metadata.Timestamp = ms
		return x
	}
	good := site.Twin{Expected: value("21", 0), Actual: value("21.0", 0)}
	for name, tt := range map[string]struct {
		twins map[string]site.Twin
		ok    bool
	}{
		"all well":                {map[string]site.Twin{"target": good, "temperature": {Actual: value("20", 1001)}}, true},
		"old report":              {map[string]site.Twin{"target": good, "temperature": {Actual: value("20", 999)}}, false},
		"forgotten desired value": {map[string]site.Twin{"target": {Actual: value("21", 0)}, "temperature": {Actual: value("20", 1001)}}, false},
		"nothing":                 {nil, false},
	} {
		if err := onDuty(tt.twins, now); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSameNumber(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{{"21", "21.0", true}, {"21", "22", false}, {"", "", false}, {"x", "x", false}} {
		if got := sameNumber(tt.a, tt.b); got != tt.want {
			t.Errorf("sameNumber(%q, %q) = %v", tt.a, tt.b, got)
		}
	}
}

func TestEventuallyKeepsTheLastError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	last := errors.New("not yet")
	if err := eventually(ctx, func(context.Context) error { return last }); !errors.Is(err, last) {
		t.Errorf("error %v", err)
	}
}
