package mqtt

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// TestClaimTable follows who drives the devices of a protocol. Each step is a message of a run of
// a mapper, NAME/RUN, or a pause, and what mappers know then: the holder, and who waits.
func TestClaimTable(t *testing.T) {
	type step struct{ message, want string }
	for name, steps := range map[string][]step{
		"first comes first": {
			{"a/1", "a/1"}, {"b/2", "a/1 b"}, {"c/3", "a/1 b c"}, {"a/1", "a/1 b c"}, {"c/3", "a/1 b c"},
		},
		"released": {
			{"a/1", "a/1"}, {"b/2", "a/1 b"}, {"a/1 release", "b/2"}, {"a/1", "b/2 a"}, {"b/2 release", "a/1"}, {"a/1 release", ""}, {"a/1 release", ""}, {"c/3", "c/3"},
		},
		"silent holder": {
			{"a/1", "a/1"}, {"b/2", "a/1 b"}, {"30s", "a/1 b"}, {"b/2", "a/1 b"}, {"15s", "b/2"}, {"a/1 after a/1", "b/2 a"},
		},
		"silent waiter":   {{"a/1", "a/1"}, {"b/2", "a/1 b"}, {"30s", "a/1 b"}, {"a/1", "a/1 b"}, {"15s", "a/1"}},
		"all are silent":  {{"a/1", "a/1"}, {"b/2", "a/1 b"}, {"45s", ""}},
		"mapper restarts": {{"a/1", "a/1"}, {"a/2", "a/2 a"}, {"a/1 after a/1", "a/2 a"}, {"a/1", "a/2 a"}, {"45s", ""}},
		"waiter restarts": {{"a/1", "a/1"}, {"b/2", "a/1 b"}, {"b/3", "a/1 b"}, {"a/1 release", "b/3"}, {"b/3 after a/1", "b/3"}},
		"namesake waits":  {{"a/1", "a/1"}, {"b/2", "a/1 b"}, {"b/3", "a/1 b"}, {"b/2 after a/1", "a/1 b b"}, {"b/3 after a/1", "a/1 b b"}},
		"first that waits is gone": {
			{"a/1", "a/1"}, {"b/2", "a/1 b"}, {"30s", "a/1 b"}, {"a/1", "a/1 b"}, {"c/3", "a/1 b c"}, {"a/1 release", "c/3 b"}, {"15s", "c/3"},
		},
		"all that wait are gone": {
			{"a/1", "a/1"}, {"b/2", "a/1 b"}, {"30s", "a/1 b"}, {"a/1", "a/1 b"}, {"a/1 release", "b/2"}, {"15s", ""},
		},
		"edgecore restarts": {{"b/2 after a/1", "a/1 b"}, {"a/1 after a/1", "a/1 b"}, {"45s", ""}},
		"edgecore restarts, holder is gone": {
			{"b/2 after a/1", "a/1 b"}, {"30s", "a/1 b"}, {"b/2 after a/1", "a/1 b"}, {"15s", "b/2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			table := claimTable{claims: make(map[string]*claim)}
			now := time.Unix(0, 0)
			for i, s := range steps {
				if pause, err := time.ParseDuration(s.message); err == nil {
					now = now.Add(pause)
					table.expire(now)
				} else {
					fields := strings.Fields(s.message)
					m := topics.ClaimMessage{Release: slices.Contains(fields, "release")}
					m.Mapper, m.Instance, _ = strings.Cut(fields[0], "/")
					if len(fields) == 3 {
						m.HolderName, m.Holder, _ = strings.Cut(fields[2], "/")
					}
					if _, err := table.request(now, "modbus", m); err != nil {
						t.Fatal(err)
					}
				}
				r := table.result("modbus")
				got := strings.TrimPrefix(strings.Join(append([]string{r.HolderName + "/" + r.Holder}, r.Waiting...), " "), "/")
				if got != s.want {
					t.Fatalf("after step %d, %s: got %q, want %q", i, s.message, got, s.want)
				}
			}
		})
	}
}

// TestClaimBounds floods the table.
func TestClaimBounds(t *testing.T) {
	table := claimTable{claims: make(map[string]*claim)}
	refused := 0
	for i := range 1000 {
		m := topics.ClaimMessage{Mapper: fmt.Sprint("m", i), Instance: fmt.Sprint(i)}
		if _, err := table.request(time.Unix(0, 0), fmt.Sprint("p", i), m); err != nil {
			refused++
		}
		if _, err := table.request(time.Unix(0, 0), "p0", m); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := table.request(time.Unix(0, 0), strings.Repeat("x", maxClaimLevel+1), topics.ClaimMessage{Mapper: "m", Instance: "i"}); err == nil || !strings.Contains(err.Error(), "without claims") {
		t.Errorf("a long protocol: %v", err)
	}
	if len(table.claims) != maxClaims || refused != 1000-maxClaims {
		t.Errorf("%d claims, %d were refused", len(table.claims), refused)
	}
	if n := len(table.claims["p0"].waiting); n != maxWaiting {
		t.Errorf("%d mappers wait", n)
	}
}

func TestDecodeClaim(t *testing.T) {
	for payload, want := range map[string]string{
		`{"event_id":"1","mapper":"a","instance":"1"}`:                 "",
		`{"event_id":"1","mapper":"a"}`:                                `"instance"`,
		`{"event_id":"1","instance":"1"}`:                              `"mapper"`,
		`{"mapper":"a\n","instance":"1"}`:                              `"mapper"`,
		`{"mapper":"a","instance":"1","holder":"\ufffd"}`:              `"holder"`,
		`{"mapper":"a","instance":"` + strings.Repeat("x", 129) + `"}`: `"instance"`,
		`[]`: "no claim",
		`{"mapper":"a","instance":"1","holder":"2","holder_name":"`: "no claim",
	} {
		_, err := decodeClaim([]byte(payload))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %s", payload, err, want)
		}
	}
}

func FuzzDecodeClaim(f *testing.F) {
	f.Add([]byte(`{"event_id":"1","mapper":"a","instance":"1","holder":"2","holder_name":"b","release":true}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if m, err := decodeClaim(payload); err == nil && (m.Mapper == "" || len(m.Instance) > 128) {
			t.Errorf("%q was read as %+v", payload, m)
		}
	})
}

// TestNameWaiting has the devices of a protocol say that a second mapper waits, for as long as one
// does.
func TestNameWaiting(t *testing.T) {
	engine, err := twin.New(twin.Config{Store: memstore.New()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for id, protocol := range map[string]string{"plant/boiler": "mod/bus", "plant/camera": "onvif", "plant/none": ""} {
		if err := engine.Put(t.Context(), id, twin.Put{Member: twin.Member{Protocol: protocol}}); err != nil {
			t.Fatal(err)
		}
	}
	inside, err := bus.New(bus.Config{Internal: bustest.New()})
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(Config{Engine: engine, Bus: inside, Node: "node"})
	if err != nil {
		t.Fatal(err)
	}
	conditions := func(id string) string {
		t.Helper()
		if err := engine.SetState(t.Context(), "plant/none", "online"); err != nil { // the engine has done all that came before
			t.Fatal(err)
		}
		d, _ := engine.Device(id)
		if len(d.Conditions) == 0 {
			return ""
		}
		return fmt.Sprint(d.Conditions[0].Type, d.Conditions[0].Status, d.Conditions[0].Reason, d.Conditions[0].Message)
	}
	table := &claimTable{claims: make(map[string]*claim)}
	now := time.Now()
	request := func(name string, release bool) {
		t.Helper()
		if _, err := table.request(now, topics.ProtocolLevel("mod/bus"), topics.ClaimMessage{Mapper: name, Instance: name, Release: release}); err != nil {
			t.Fatal(err)
		}
	}
	var named map[string]string
	for _, s := range []struct {
		do   func()
		want string
	}{
		{func() { request("a", false) }, ""},
		{func() { request("b", false) }, ""}, // for a while that is an update of the mapper
		{func() { now = now.Add(claimGrace) }, `SingleMapperfalseMapperWaitingmapper "a" drives the device, and mapper "b" serves the protocol on this node too and waits: end one of the two`},
		{func() { request("a", true) }, "SingleMappertrueSingleMapper"},
	} {
		s.do()
		named = b.nameWaiting(t.Context(), table, now, named)
		if got := conditions("plant/boiler"); got != s.want {
			t.Errorf("got %s, want %s", got, s.want)
		}
		if d, _ := engine.Device("plant/boiler"); !d.LastReport.IsZero() {
			t.Error("the condition counts as a report of the device")
		}
	}
	if got := conditions("plant/camera") + conditions("plant/none"); got != "" {
		t.Errorf("a device of another protocol has %s", got)
	}
}
