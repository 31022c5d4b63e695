package mqtt_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/mqtt"
)

const (
	claimTopic    = "$hw/events/node/node/membership/protocol/modbus/claim"
	claimResults  = claimTopic + "/result"
	nativeClaims  = `{"event_id":"e-1","mapper":"modbus-1","instance":"i-1","holder":"edgecore","holder_name":"DMI/a"}`
	nativeRelease = `{"event_id":"e-2","mapper":"modbus-1","instance":"i-1","release":true}`
)

// TestLocalClaim has mappers that do not speak MQTT claim a protocol beside one that does: first
// these drive its devices, then that one. The devices say so when it lasts.
func TestLocalClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		if err := n.engine.Put(t.Context(), "plant/boiler", twin.Put{Member: twin.Member{Protocol: "modbus"}}); err != nil {
			t.Fatal(err)
		}
		results := func() (list []string) {
			synctest.Wait()
			for len(n.got) > 0 {
				if m := <-n.got; m.Topic == claimResults {
					list = append(list, string(m.Payload))
				}
			}
			return list
		}
		claim := func(want string) {
			t.Helper()
			if holder, err := n.bridge.Claim(t.Context(), "modbus", "DMI/a"); err != nil || holder != want {
				t.Errorf("the claim is answered %q, %v; want %q", holder, err, want)
			}
		}
		say := func(payload string) {
			t.Helper()
			if err := n.bus.Publish(t.Context(), bus.Message{Topic: claimTopic, Payload: []byte(payload)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		condition := func() string {
			for range 20 { // both repeat their claims for more than three minutes
				claimed, err := n.bridge.Claim(t.Context(), "modbus", "DMI/a")
				if err != nil {
					t.Error(claimed, err)
				}
				say(nativeClaims)
				time.Sleep(10 * time.Second)
			}
			d, _ := n.engine.Device("plant/boiler")
			for _, c := range d.Conditions {
				if c.Type == mqtt.ConditionSingleMapper && !c.Status {
					return c.Message
				}
			}
			return ""
		}
		results()
		claim("")
		if list := results(); len(list) != 1 || !strings.Contains(list[0], `"holder":"edgecore","holder_name":"DMI/a"`) {
			t.Errorf("the first claim is published as %q", list)
		}
		claim("")
		if list := results(); len(list) != 0 {
			t.Errorf("a claim that changes nothing is published as %q", list)
		}
		say(`{"event_id":"e-3","mapper":"modbus-1","instance":"edgecore","release":true}`) // it is not theirs to release
		if list := results(); len(list) != 1 || !strings.Contains(list[0], `"code":400`) {
			t.Errorf("a claim in edgecore's name is answered %q", list)
		}
		claim("")
		if list := results(); len(list) != 0 {
			t.Errorf("after it the claim has changed: %q", list)
		}
		say(nativeClaims)
		if list := results(); len(list) != 1 || !strings.Contains(list[0], `"waiting":["modbus-1"]`) {
			t.Errorf("the mapper over MQTT is answered %q", list)
		}
		if got := condition(); !strings.HasPrefix(got, `mapper "DMI/a" drives the device, and mapper "modbus-1" serves the protocol on this node too and waits`) {
			t.Errorf("the device says %q", got)
		}
		results()
		if err := n.bridge.Release(t.Context(), "modbus"); err != nil {
			t.Error(err)
		}
		if list := results(); len(list) != 1 || !strings.Contains(list[0], `"holder":"i-1","holder_name":"modbus-1"`) {
			t.Errorf("the release is published as %q", list)
		}
		claim("modbus-1")
		if got := condition(); !strings.HasPrefix(got, `mapper "modbus-1" drives the device, and mapper "DMI/a" serves`) {
			t.Errorf("the device says %q", got)
		}
		say(nativeRelease)
		claim("")
		time.Sleep(10 * time.Second)
		claim("")
		time.Sleep(30 * time.Second)
		if d, _ := n.engine.Device("plant/boiler"); len(d.Conditions) != 1 || !d.Conditions[0].Status {
			t.Errorf("the conditions are %+v", d.Conditions)
		}
	})
}

// TestLocalClaimRefused has names that are refused, and a Bridge that does not run.
func TestLocalClaimRefused(t *testing.T) {
	engine, err1 := twin.New(twin.Config{Store: memstore.New()})
	b, err2 := bus.New(bus.Config{Internal: bustest.New()})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	bridge, err := mqtt.New(mqtt.Config{Engine: engine, Bus: b, Node: "node"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "a\n", "\xff", strings.Repeat("x", 129)} {
		if _, err := bridge.Claim(t.Context(), "modbus", name); !errors.Is(err, &twin.Error{Code: twin.CodeInvalid}) {
			t.Errorf("%q: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bridge.Claim(ctx, "modbus", "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("without Run: %v", err)
	}
	if err := bridge.Release(ctx, "modbus"); !errors.Is(err, context.Canceled) {
		t.Errorf("without Run: %v", err)
	}
}
