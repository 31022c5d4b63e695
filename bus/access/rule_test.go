package access_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/edgekit/edgekit/bus/access"
	"github.com/edgekit/edgekit/bus/broker"
)

const rules = `users:
- name: modbus-mapper
  role: mapper
  protocols: [modbus, opc/ua]
  devices: [plant/pump-*]
  clientIDs: [modbus-*]
- name: dashboard
  role: app
  read: ["*/*"]
  devices: [plant/lamp]
  publish: [ui/#, $hw/events/upload/#]
  subscribe: [ui/#, alarms/+]
- name: operator
  role: admin
- name: robot
  role: app
  publish: [$hw/events/node/+/upgrade/confirm]
  subscribe: ["$hw/events/node/edge-1/upgrade/#"]
- name: line-*
  role: app
  devices: [line/*]
- name: line-2
  role: none
- name: system:serviceaccount:lab:*
  role: none
- name: system:serviceaccount:lab:reader
  role: app
  read: [plant/*]
`

// write writes a file in a folder of the test.
func write(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func open(t *testing.T, cfg access.Config) *access.Access {
	t.Helper()
	a, err := access.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAllow(t *testing.T) {
	a := open(t, access.Config{
		Rules: write(t, "rules.yaml", rules), Anonymous: true, Node: "edge-1",
		Protocol: func(device string) string {
			return map[string]string{"hall/meter": "modbus", "hall/camera": "onvif"}[device]
		},
	})
	const (
		pub, sub, recv, will = broker.ActionPublish, broker.ActionSubscribe, broker.ActionReceive, broker.ActionWill
		d                    = "$hw/events/device/"
		n                    = "$hw/events/node/edge-1/membership/"
		pod                  = "system:serviceaccount:plant:default"
	)
	type users map[string]bool // a missing one may not
	for _, test := range []struct {
		action broker.Action
		topic  string
		may    users
	}{
		// What only edgecore publishes, for everyone.
		{pub, d + "plant/pump-1/twin/cloud_updated", nil},
		{pub, d + "plant/pump-1/twin/update/result", nil},
		{pub, d + "plant/pump-1/twin/update/delta", nil},
		{pub, d + "plant/pump-1/twin/update/document", nil},
		{pub, d + "plant/pump-1/twin/get/result", nil},
		{pub, d + "plant/pump-1/state/update/result", nil},
		{pub, d + "plant/pump-1/updated", nil},
		{pub, n + "updated", nil},
		{pub, n + "get/result", nil},
		{pub, n + "detail/result", nil},
		{pub, "$hw/events/connected/edge-1", nil},
		{pub, "$hw/events/edgeGroup/g/membership/updated", nil},
		{pub, "$hw/anything", nil},
		{pub, d + "plant/twin/update", nil},
		{pub, d + "/pump-1/twin/update", nil},
		{will, d + "plant/pump-1/twin/update/delta", nil},

		{pub, d + "plant/pump-1/twin/update", users{"": true, "modbus-mapper": true, "operator": true, pod: true}},
		{pub, d + "plant/pump-1/state/update", users{"": true, "modbus-mapper": true, "operator": true}},
		{pub, d + "plant/pump-1/state/conditions", users{"": true, "modbus-mapper": true, "operator": true}},
		{pub, d + "plant/pump-1/method/call", users{"": true, "modbus-mapper": true, "operator": true, pod: true}},
		{pub, d + "plant/pump-1/method/call/result", users{"": true, "modbus-mapper": true, "operator": true}},
		{pub, n[:len(n)-len("membership/")] + "proposed/modbus", users{"": true, "modbus-mapper": true, "operator": true}},
		{recv, n[:len(n)-len("membership/")] + "proposed/modbus", users{"": true, "modbus-mapper": true, "operator": true}},
		{pub, n + "protocol/modbus/claim", users{"": true, "modbus-mapper": true, "operator": true}},
		{recv, n + "protocol/modbus/claim/result", users{"": true, "modbus-mapper": true, "operator": true}},
		{pub, n + "protocol/modbus/claim/result", nil},
		{pub, n[:len(n)-len("membership/")] + "proposed/onvif", users{"": true, "operator": true}},
		{pub, n[:len(n)-len("membership/")] + "proposed/modbus/x", nil},
		{will, d + "plant/pump-1/state/update", users{"": true, "modbus-mapper": true, "operator": true}},
		{pub, d + "plant/pump-1/twin/get", users{"": true, "modbus-mapper": true, "operator": true, pod: true, "dashboard": true, "system:serviceaccount:lab:reader": true}},
		{pub, d + "plant/pump-1/twin/history", users{"": true, "modbus-mapper": true, "operator": true, pod: true, "dashboard": true, "system:serviceaccount:lab:reader": true}},
		{pub, d + "plant/lamp/twin/update", users{"": true, "operator": true, pod: true, "dashboard": true}},
		{pub, d + "hall/meter/twin/update", users{"": true, "modbus-mapper": true, "operator": true}},
		{pub, d + "hall/camera/twin/update", users{"": true, "operator": true}},
		{pub, d + "line/belt/twin/update", users{"": true, "operator": true, "line-1": true}},
		{recv, d + "hall/camera/twin/update/delta", users{"": true, "operator": true, "dashboard": true}},
		{recv, d + "hall/meter/twin/update/delta", users{"": true, "operator": true, "dashboard": true, "modbus-mapper": true}},
		{recv, d + "plant/lamp/twin/update/delta", users{"": true, "operator": true, "dashboard": true, pod: true, "system:serviceaccount:lab:reader": true}},

		// Specs have credentials.
		{pub, n + "detail", users{"": true, "operator": true}},
		{recv, n + "detail/result", users{"": true, "operator": true}},
		{recv, n + "updated", users{"": true, "operator": true}},
		{pub, n + "protocol/modbus/detail", users{"": true, "operator": true, "modbus-mapper": true}},
		{recv, n + "protocol/modbus/detail/result", users{"": true, "operator": true, "modbus-mapper": true}},
		{recv, n + "protocol/modbus/updated", users{"": true, "operator": true, "modbus-mapper": true}},
		{sub, n + "protocol/modbus/updated", users{"": true, "operator": true, "modbus-mapper": true}},
		{pub, n + "protocol/modbus/updated", nil},
		{pub, n + "protocol/modbus/detail/result", nil},
		{pub, n + "protocol/onvif/detail", users{"": true, "operator": true}},
		{recv, n + "protocol/onvif/detail/result", users{"": true, "operator": true}},
		{recv, n + "protocol/onvif/updated", users{"": true, "operator": true}},
		{recv, n + "protocol/modbus/x/updated", users{"operator": true}},
		{recv, n + "protocol/opc%2Fua/updated", users{"": true, "operator": true, "modbus-mapper": true}},
		{recv, n + "get/result", users{"": true, "operator": true, "modbus-mapper": true, "dashboard": true}},
		{pub, n + "get", users{"": true, "operator": true, "modbus-mapper": true, "dashboard": true}},
		{pub, "$hw/events/node/edge-2/membership/get", nil},

		// Who has no rule sees upgrades; only an admin, and who is named, confirms one.
		{pub, "$hw/events/node/edge-1/upgrade/confirm", users{"operator": true, "robot": true}},
		{pub, "$hw/events/node/edge-2/upgrade/confirm", nil},
		{pub, "$hw/events/node/edge-1/upgrade/request", nil},
		{pub, "$hw/events/node/edge-1/upgrade/result", nil},
		{sub, "$hw/events/node/edge-1/upgrade/request", users{"": true, "operator": true, "robot": true}},
		{recv, "$hw/events/node/edge-1/upgrade/request", users{"": true, "operator": true, "robot": true}},
		{recv, "$hw/events/node/edge-1/upgrade/result", users{"": true, "operator": true, "robot": true}},
		{recv, "$hw/events/node/edge-1/upgrade/other", users{"operator": true}},

		{sub, "$hw/#", users{"": true, "operator": true, "modbus-mapper": true, "dashboard": true, "robot": true, "line-1": true, pod: true, "system:serviceaccount:lab:reader": true}},
		{sub, n + "detail/result", users{"": true, "operator": true}},
		{sub, d + "later/device/twin/update/delta", users{"": true, "operator": true, "modbus-mapper": true, "dashboard": true}},
		{sub, "plant/news", users{"": true, "operator": true, pod: true}},

		{recv, "$hw/events/connected/edge-1", users{"": true, "operator": true, "modbus-mapper": true, "dashboard": true, "robot": true, "line-1": true, pod: true, "system:serviceaccount:lab:reader": true}},
		{pub, "plant/user/report", users{"": true, "operator": true, pod: true}},
		{recv, "plant/news", users{"": true, "operator": true, pod: true}},
		{pub, "plantx", users{"": true, "operator": true}},
		{pub, "ui/button", users{"": true, "operator": true, "dashboard": true}},
		{recv, "alarms/fire", users{"": true, "operator": true, "dashboard": true}},
		{recv, "alarms/fire/1", users{"": true, "operator": true}},
		{pub, "$hw/events/upload/x", users{"": true, "operator": true, "dashboard": true}},
		{pub, "$ke/events/device/plant/pump-1/data/update", users{"": true, "operator": true, "modbus-mapper": true}},
		{recv, "$ke/events/device/plant/pump-1/data/update", users{"": true, "operator": true, "modbus-mapper": true, "dashboard": true, pod: true, "system:serviceaccount:lab:reader": true}},
		{pub, "SYS/dis/upload_records", users{"": true, "operator": true}},
	} {
		for _, user := range []string{"", "modbus-mapper", "dashboard", "operator", "robot", "line-1", "line-2", "nobody", pod, "system:serviceaccount:lab:default", "system:serviceaccount:lab:reader"} {
			if got := a.Allow(broker.User{Name: user}, test.topic, test.action); got != test.may[user] {
				t.Errorf("user %q, action %d, topic %s: allowed is %v", user, test.action, test.topic, got)
			}
		}
	}
	if n := a.Stats().Topics["publish"]; n == 0 {
		t.Error("refused publishes are not counted")
	}
}

// Without a rules file users have the rights of the anonymous user, and pods those of their namespace.
func TestNoRules(t *testing.T) {
	a := open(t, access.Config{})
	for _, test := range []struct {
		user, topic string
		want        bool
	}{
		{"anna", "$hw/events/device/plant/pump/twin/update", true},
		{"anna", "$hw/events/device/plant/pump/twin/cloud_updated", false},
		{"anna", "any/topic", true},
		{"anna", "$hw/events/node/edge-1/upgrade/confirm", false},
		{"system:serviceaccount:plant:x", "$hw/events/device/plant/pump/twin/update", true},
		{"system:serviceaccount:plant:x", "$hw/events/device/plant2/pump/twin/update", false},
		{"system:serviceaccount:plant:x", "any/topic", false},
		{"system:serviceaccount::x", "/topic", false},
	} {
		if got := a.Allow(broker.User{Name: test.user}, test.topic, broker.ActionPublish); got != test.want {
			t.Errorf("%s publishes to %s: %v", test.user, test.topic, got)
		}
	}
}

func TestAllowAllocatesNothing(t *testing.T) {
	a := open(t, access.Config{Rules: write(t, "rules.yaml", rules)})
	for _, user := range []string{"", "dashboard", "line-7", "system:serviceaccount:plant:x"} {
		if n := testing.AllocsPerRun(100, func() {
			a.Allow(broker.User{Name: user}, "$hw/events/device/plant/lamp/twin/update/delta", broker.ActionReceive)
		}); n != 0 {
			t.Errorf("%q: %v allocations", user, n)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	name := filepath.Join(b.TempDir(), "rules.yaml")
	if err := os.WriteFile(name, []byte(rules), 0o600); err != nil {
		b.Fatal(err)
	}
	a, err := access.Open(access.Config{Rules: name})
	if err != nil {
		b.Fatal(err)
	}
	user := broker.User{Name: "dashboard"}
	for b.Loop() {
		a.Allow(user, "$hw/events/device/plant/lamp/twin/update", broker.ActionPublish)
	}
}
