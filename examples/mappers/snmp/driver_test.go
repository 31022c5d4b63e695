package main

import (
	"strconv"
	"strings"
	"testing"

	"github.com/gosnmp/gosnmp"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/examples/mappers/internal/mappertest"
)

const ups = "plant/ups-1"

// instance is the Device of device.yaml with another connection.
func instance(t *testing.T, c connection) device.Instance {
	t.Helper()
	dev := mappertest.Instance(t, "model.yaml", "device.yaml")
	o, err := schema.NewOptions(c)
	if err != nil {
		t.Fatal(err)
	}
	dev.Spec.Protocol.Config = o
	for n := range dev.Spec.Properties {
		dev.Spec.Properties[n].CollectCycle = 20
		dev.Spec.Properties[n].Desired = nil
	}
	return dev
}

// TestDriver holds the driver to the contract of device.Driver, in each security level.
func TestDriver(t *testing.T) {
	for name, test := range map[string]struct {
		user *gosnmp.UsmSecurityParameters
		conn connection
	}{
		"2c": {nil, connection{}},
		"3, nothing": {
			&gosnmp.UsmSecurityParameters{UserName: "edgekit", AuthenticationProtocol: gosnmp.NoAuth, PrivacyProtocol: gosnmp.NoPriv},
			connection{Version: "3", Username: "edgekit"},
		},
		"3, signed": {
			&gosnmp.UsmSecurityParameters{UserName: "edgekit", AuthenticationProtocol: gosnmp.SHA512, AuthenticationPassphrase: "authentic", PrivacyProtocol: gosnmp.NoPriv},
			connection{Version: "3", Username: "edgekit", AuthProtocol: "SHA512", AuthPassword: "authentic"},
		},
		"3, encrypted": {
			&gosnmp.UsmSecurityParameters{UserName: "edgekit", AuthenticationProtocol: gosnmp.SHA256, AuthenticationPassphrase: "authentic", PrivacyProtocol: gosnmp.AES, PrivacyPassphrase: "encrypted"},
			connection{Version: "3", Username: "edgekit", AuthPassword: "authentic", PrivPassword: "encrypted"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := startAgent(t, test.user)
			c := test.conn
			c.IP, c.Port, c.Timeout = "127.0.0.1", a.port(), 30_000
			dev := instance(t, c)
			other := dev
			other.ID = "plant/ups-2"
			devicetest.RunDriver(t, devicetest.DriverConfig{
				New:      config().New,
				Instance: dev,
				Write:    map[string][]string{"location": {"Hall 3", "Hall 4, left"}, "alarm": {"2", "3"}},
				Others:   []device.Instance{other},
				Hang: func() func() {
					a.set(func() { a.quiet = true })
					return func() { a.set(func() { a.quiet = false }) }
				},
			})
		})
	}
}

// TestRecovers has the agent hang, lie and restart under a gateway.
func TestRecovers(t *testing.T) {
	a := startAgent(t, nil)
	g := mappertest.NewGateway(t, config(),
		instance(t, connection{IP: "127.0.0.1", Port: a.port(), Timeout: 200}))
	g.WaitActual(ups, "octets", "1099511627776")
	g.WaitActual(ups, "mac", "AAEC//4F")
	next := 0
	follows := func(t *testing.T) { // both ways
		t.Helper()
		next++
		g.SetDesired(ups, "location", "Hall "+strconv.Itoa(next))
		g.WaitActual(ups, "location", "Hall "+strconv.Itoa(next))
		a.set(func() {
			a.values[".1.3.6.1.2.1.1.3.0"] = gosnmp.SnmpPDU{Name: ".1.3.6.1.2.1.1.3.0", Type: gosnmp.TimeTicks, Value: uint32(next)}
		})
		g.WaitActual(ups, "uptime", strconv.Itoa(next))
		g.WaitState(ups, device.Online)
	}
	follows(t)
	for name, disturb := range map[string]func() (end func()){
		"hangs": func() func() {
			a.set(func() { a.quiet = true })
			return func() { a.set(func() { a.quiet = false }) }
		},
		"lies": func() func() {
			a.set(func() { a.lie = true })
			return func() { a.set(func() { a.lie = false }) }
		},
		"restarts with factory values": func() func() {
			a.set(func() { a.quiet = true })
			a.reset()
			return func() { a.set(func() { a.quiet = false }) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			end := disturb()
			g.WaitState(ups, device.Offline)
			end()
			follows(t)
		})
	}
}

// TestReadMany reads many OIDs in one request, and has an error for those only that the agent
// does not have.
func TestReadMany(t *testing.T) {
	a := startAgent(t, nil)
	dev := instance(t, connection{IP: "127.0.0.1", Port: a.port(), Timeout: 30_000})
	dev.Spec.Properties = append(dev.Spec.Properties, schema.Property{Name: "none", Visitors: &schema.Visitor{Config: schema.Options(`{"oid":"1.3.6.1.4.1.1"}`)}})
	d := new(driver)
	if err := d.Open(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got, err := d.ReadMany(t.Context(), []string{"uptime", "octets", "none", "mac", "unknown"})
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil || a.requests != 1 || len(got) != 5 || got["uptime"].Value != "4711" || got["mac"].Err != nil || got["none"].Err == nil || got["unknown"].Err == nil {
		t.Errorf("%d requests, readings %v, %v", a.requests, got, err)
	}
}

func TestSettingsErrors(t *testing.T) {
	for says, c := range map[string]connection{
		"ip is missing":       {},
		"port is 70000":       {IP: "a", Port: 70000},
		"version is":          {IP: "a", Version: "1"},
		"username is missing": {IP: "a", Version: "3"},
		"authProtocol is":     {IP: "a", Version: "3", Username: "u", AuthProtocol: "ROT13", AuthPassword: "12345678"},
		"8 characters":        {IP: "a", Version: "3", Username: "u", AuthPassword: "1234567"},
		"privProtocol is":     {IP: "a", Version: "3", Username: "u", AuthPassword: "12345678", PrivPassword: "12345678", PrivProtocol: "XOR"},
		"needs authPassword":  {IP: "a", Version: "3", Username: "u", PrivPassword: "12345678"},
		"out of range":        {IP: "a", Timeout: -1},
	} {
		if _, err := c.client(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: got %v, want %q", c, err, says)
		}
	}
	for says, config := range map[string]string{
		"oid is":     `{"oid":"sysUpTime"}`,
		"type is":    `{"oid":"1.3.6","type":"Float"}`,
		"configData": `{"oid":1}`,
	} {
		_, err := newPoint(&device.Instance{}, schema.Property{Name: "p", Visitors: &schema.Visitor{Config: schema.Options(config)}})
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "property p") {
			t.Errorf("%s: got %v, want %q", config, err, says)
		}
	}
}

func TestWrongPassword(t *testing.T) {
	a := startAgent(t, &gosnmp.UsmSecurityParameters{UserName: "edgekit", AuthenticationProtocol: gosnmp.SHA256, AuthenticationPassphrase: "authentic", PrivacyProtocol: gosnmp.NoPriv})
	d := new(driver)
	dev := instance(t, connection{IP: "127.0.0.1", Port: a.port(), Version: "3", Username: "edgekit", AuthPassword: "something else", Timeout: 100})
	if err := d.Open(t.Context(), dev); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if value, err := d.Read(t.Context(), "uptime"); err == nil {
		t.Errorf("got %q with a wrong password", value)
	}
}
