package main

import (
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/gopcua/opcua/ua"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/examples/mappers/internal/mappertest"
)

// TestMain looks for goroutines that are left. Those of the simulator's subscriptions are the
// library's: it does not end them with the server.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/gopcua/opcua/server.(*Subscription).run"))
}

const press = "plant/press-1"

// TestDriver holds the driver to the contract of device.Driver and device.Subscriber, in each
// way to log in. The channel is not secured: the server of gopcua 0.8.0 cannot read the first
// message of a secured one, since it takes its mode for None until it has read it.
func TestDriver(t *testing.T) {
	s, proxy := startPress(t)
	own := newIdentity(t, "mapper")
	for name, c := range map[string]connection{
		"anonymous":   {},
		"user":        {Username: "mapper", Password: "secret", ServerCertificate: s.identity.cert},
		"certificate": {AuthCertificate: true, Certificate: own.cert, PrivateKey: own.pem},
	} {
		t.Run(name, func(t *testing.T) {
			c.URL, c.Timeout, c.PublishInterval = "opc.tcp://"+proxy.Addr(), 60_000, 10
			dev := instance(t, c)
			other := dev
			other.ID = "plant/press-2"
			n := 0
			devicetest.RunDriver(t, devicetest.DriverConfig{
				New:      config().New,
				Instance: dev,
				Write:    map[string][]string{"target": {"120", "-3"}, "running": {"false", "true"}, "program": {"B", "ü \"C\""}},
				Others:   []device.Instance{other},
				Hang:     proxy.Hold,
				Change: func() (string, string) {
					n++
					s.set(t, "temperature", float64(n)+0.5)
					return "temperature", strconv.Itoa(n) + ".5"
				},
			})
		})
	}
}

// TestRecovers has the server drop, hang, lie and restart under a gateway.
func TestRecovers(t *testing.T) {
	s, proxy := startPress(t)
	g := mappertest.NewGateway(t, config(), instance(t, connection{URL: "opc.tcp://" + proxy.Addr(), Timeout: 500, PublishInterval: 20}))
	g.WaitActual(press, "temperature", "21.5")
	g.WaitActual(press, "strokes", "7")
	next := 0
	follows := func(t *testing.T) { // both ways
		t.Helper()
		next++
		g.SetDesired(press, "target", strconv.Itoa(next))
		g.Wait(func() bool { return s.value("target") == int32(next) }, func() string { return "the press does not follow" })
		s.set(t, "temperature", float64(next))
		g.WaitActual(press, "temperature", strconv.Itoa(next))
		g.WaitState(press, device.Online)
	}
	follows(t)
	for name, disturb := range map[string]func() (end func()){
		"drops its connections": func() func() { proxy.Drop(); return func() {} },
		"has no power":          func() func() { proxy.Refuse(true); return func() { proxy.Refuse(false) } },
		"hangs":                 proxy.Hold,
		"sends rubbish": func() func() {
			proxy.Damage(func(b []byte) { copy(b, "what?") })
			return func() { proxy.Damage(nil); proxy.Drop() }
		},
		"restarts with factory values": func() func() {
			proxy.Refuse(true)
			s.set(t, "target", int32(0))
			s.set(t, "temperature", 0.0)
			return func() { proxy.Refuse(false) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			end := disturb()
			if name != "drops its connections" {
				g.WaitState(press, device.Offline)
			}
			end()
			follows(t)
		})
	}
}

// TestServerCertificate refuses a server with another certificate than the Device names.
func TestServerCertificate(t *testing.T) {
	_, proxy := startPress(t)
	own := newIdentity(t, "mapper")
	d := new(driver)
	err := d.Open(t.Context(), instance(t, connection{
		URL: "opc.tcp://" + proxy.Addr(), SecurityPolicy: "Basic256Sha256", Certificate: own.cert, PrivateKey: own.pem,
		ServerCertificate: own.cert, Timeout: 60_000,
	}))
	if err == nil || !strings.Contains(err.Error(), "serverCertificate") {
		t.Errorf("got %v", err)
	}
}

func TestSettingsErrors(t *testing.T) {
	for says, c := range map[string]connection{
		"url is":                 {URL: "http://a"},
		"securityPolicy is":      {URL: "opc.tcp://a", SecurityPolicy: "Rot13"},
		"securityMode is":        {URL: "opc.tcp://a", SecurityMode: "Hide"},
		"does not go with":       {URL: "opc.tcp://a", SecurityMode: "Sign"},
		"certificate or private": {URL: "opc.tcp://a", SecurityPolicy: "Basic256Sha256"},
		"set one":                {URL: "opc.tcp://a", AuthCertificate: true, Username: "u"},
		"negative":               {URL: "opc.tcp://a", Timeout: -1},
	} {
		if err := c.check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: got %v, want %q", c, err, says)
		}
	}
	for says, config := range map[string]string{
		"nodeID is":  `{"nodeID":"ns=x;s=y"}`,
		"configData": `{"nodeID":1}`,
	} {
		_, err := newPoint(&device.Instance{}, schema.Property{Name: "p", Visitors: &schema.Visitor{Config: schema.Options(config)}})
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "property p") {
			t.Errorf("%s: got %v, want %q", config, err, says)
		}
	}
}

func TestValues(t *testing.T) {
	for _, test := range []struct {
		typ   ua.TypeID
		value string
		fails bool
	}{
		{ua.TypeIDBoolean, "true", false}, {ua.TypeIDBoolean, "1", true},
		{ua.TypeIDSByte, "-128", false}, {ua.TypeIDSByte, "128", true},
		{ua.TypeIDByte, "255", false}, {ua.TypeIDByte, "-1", true},
		{ua.TypeIDInt16, "-32768", false}, {ua.TypeIDUint16, "65535", false},
		{ua.TypeIDInt32, "1", false}, {ua.TypeIDInt32, "1.5", true}, {ua.TypeIDUint32, "4294967295", false},
		{ua.TypeIDInt64, "-9223372036854775808", false}, {ua.TypeIDUint64, "18446744073709551615", false},
		{ua.TypeIDFloat, "0.1", false}, {ua.TypeIDDouble, "0.1", false}, {ua.TypeIDDouble, "NaN", true},
		{ua.TypeIDString, "x", false}, {ua.TypeIDByteString, "AAE=", false}, {ua.TypeIDByteString, "?", true},
		{ua.TypeIDDateTime, "2026-01-02T03:04:05Z", false}, {ua.TypeIDDateTime, "now", true},
		{ua.TypeIDLocalizedText, "x", false}, {ua.TypeIDExtensionObject, "x", true},
	} {
		v, err := variant(test.value, test.typ)
		if (err != nil) != test.fails {
			t.Errorf("%s as %s: %v", test.value, test.typ, err)
			continue
		}
		if err != nil {
			continue
		}
		if got, err := text(&ua.DataValue{Value: v}, ""); err != nil || got != test.value || v.Type() != test.typ {
			t.Errorf("%s as %s: got %q as %s, %v", test.value, test.typ, got, v.Type(), err)
		}
	}
	if _, err := text(&ua.DataValue{Status: ua.StatusBadSensorFailure, Value: ua.MustVariant(1.5)}, ""); err == nil {
		t.Error("a bad value is used")
	}
}
