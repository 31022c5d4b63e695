package device_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// pump is a Caller and a Discoverer.
type pump struct {
	*devicetest.Device
	found atomic.Pointer[[]device.Proposal]
}

func (p *pump) Call(ctx context.Context, method string, parameters schema.Options) (schema.Options, error) {
	switch method {
	case "purge":
		var in struct {
			Seconds int `json:"seconds"`
		}
		if err := parameters.Decode(&in); err != nil || in.Seconds <= 0 {
			return nil, &device.CallError{Code: device.CodeInvalid, Reason: "seconds must be above 0"}
		}
		time.Sleep(time.Duration(in.Seconds) * time.Second)
		p.Set("target", "7")
		return schema.NewOptions(map[string]int{"litres": 2 * in.Seconds})
	case "break":
		return nil, errors.New("valve is stuck")
	case "panic":
		panic("purge")
	case "hang":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return nil, &device.CallError{Code: device.CodeUnknown, Reason: "no method " + method}
}

func (p *pump) Discover(_ context.Context, found func(device.Proposal)) error {
	for _, f := range *p.found.Load() {
		found(f)
	}
	return nil
}

// TestMethods calls methods of a driver, and those that a spec makes of properties.
func TestMethods(t *testing.T) {
	for _, tt := range []struct {
		name, device, method, parameters string
		result                           string
		code                             int
	}{
		{"with a result", "a/pump", "purge", `{"seconds":2}`, `{"litres":4}`, 0},
		{"wrong parameters", "a/pump", "purge", `{"seconds":-2}`, "", device.CodeInvalid},
		{"unknown method", "a/pump", "fly", "", "", device.CodeUnknown},
		{"failure", "a/pump", "break", "", "", device.CodeFailed},
		{"panic", "a/pump", "panic", "", "", device.CodeFailed},
		{"hangs until the deadline", "a/pump", "hang", "", "", device.CodeTimeout},
		{"longer than the caller waits", "a/pump", "purge", `{"seconds":9}`, "", device.CodeTimeout},
		{"of properties", "a/boiler", "heat", `{"target":60}`, `{"target":"60","temperature":"20"}`, 0},
		{"of properties, as text", "a/boiler", "heat", `{"target":"61"}`, `{"target":"61","temperature":"20"}`, 0},
		{"of properties, only read", "a/boiler", "heat", "", `{"target":"0","temperature":"20"}`, 0},
		{"of properties, ReadOnly", "a/boiler", "heat", `{"temperature":60}`, "", device.CodeInvalid},
		{"of properties, no number", "a/boiler", "heat", `{"target":"hot"}`, "", device.CodeInvalid},
		{"of properties, unknown", "a/boiler", "cool", "", "", device.CodeUnknown},
		{"device that is closed", "a/off", "heat", "", "", device.CodeUnavailable},
		{"device that is disabled", "a/disabled", "heat", "", "", device.CodeUnavailable},
		{"device of nobody", "a/nobody", "heat", "", "", -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				off := simulated()
				off.Fail("Open", errors.New("unplugged"))
				drivers := map[string]device.Driver{"a/pump": &pump{Device: simulated()}, "a/boiler": simulated(), "a/off": off, "a/disabled": simulated()}
				dev := instance(tt.device, nil)
				dev.Spec.Methods = []schema.Method{{Name: "heat", PropertyNames: []string{"target", "temperature"}}, {Name: "purge", PropertyNames: []string{"target"}}}
				dev.Spec.Disabled = tt.device == "a/disabled"
				if tt.device == "a/nobody" {
					dev.ID = "a/boiler"
				}
				link := devicetest.NewLink(dev)
				m, _ := driveConfig(t, device.Config{Link: link, New: func() device.Driver { return drivers[dev.ID] }})
				time.Sleep(time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				result, err := link.Call(ctx, tt.device, tt.method, schema.Options(tt.parameters))
				code := 0
				var e *device.CallError
				if errors.As(err, &e) {
					code = e.Code
				} else if errors.Is(err, device.ErrNotDriven) {
					code = -1
				}
				if string(result) != tt.result || code != tt.code {
					t.Errorf("got %s, %v, want %s, code %d", result, err, tt.result, tt.code)
				}
				if s := m.Stats(); s.Calls != 1 || (s.CallErrors == 1) != (tt.code != 0) {
					t.Errorf("%d calls, %d errors", s.Calls, s.CallErrors)
				}
				time.Sleep(10 * time.Second)
				if tt.result != "" && tt.method == "purge" && link.Values(tt.device)["target"] != "7" {
					t.Errorf("after the method the values are %v", link.Values(tt.device))
				}
			})
		})
	}
}

// TestDiscovery has devices be found: those that are declared are not proposed, and one that is
// gone is kept.
func TestDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proposal := func(name, config string) device.Proposal {
			return device.Proposal{Name: name, Model: "pump", Protocol: schema.Protocol{Config: schema.Options(config)}}
		}
		p := &pump{Device: simulated()}
		p.found.Store(&[]device.Proposal{
			proposal("pump-1", `{"host": "10.0.0.1","unit":1}`), proposal("pump-2", `{"host":"10.0.0.2"}`), proposal("Not A Label", `{}`),
		})
		declared := instance("a/known", nil)
		declared.Spec.Protocol.Config = schema.Options(`{"unit":1,"host":"10.0.0.1"}`)
		link := devicetest.NewLink(declared)
		names := func() string {
			var all []string
			for _, p := range link.Proposals() {
				all = append(all, p.Name+" "+p.Protocol.Name+" "+p.LastFound.Format(time.TimeOnly))
			}
			return strings.Join(all, ", ")
		}
		m, _ := driveConfig(t, device.Config{Link: link, New: func() device.Driver { return p }, DiscoverCycle: time.Minute})
		time.Sleep(90 * time.Second)
		if got := names(); got != "pump-2 test 00:01:00" {
			t.Errorf("proposed are %q", got)
		}
		p.found.Store(&[]device.Proposal{proposal("pump-3", `{"host":"10.0.0.3"}`)})
		time.Sleep(time.Minute)
		if got := names(); got != "pump-2 test 00:01:00, pump-3 test 00:02:00" || m.Stats().Proposals != 2 {
			t.Errorf("proposed are %q", got)
		}
		adopted := instance("a/pump-2", nil)
		adopted.Spec.Protocol.Config = schema.Options(`{"host":"10.0.0.2"}`)
		link.Set(declared, adopted)
		time.Sleep(time.Minute)
		if got := names(); got != "pump-3 test 00:03:00" {
			t.Errorf("after one was adopted: %q", got)
		}
	})
	m, err := device.New(device.Config{Protocol: "x", Link: devicetest.NewLink(), New: func() device.Driver { return simulated() }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Discover(t.Context()); !errors.Is(err, device.ErrNoDiscovery) {
		t.Errorf("a driver that cannot search: %v", err)
	}
}

// TestNoDiscovery has a mapper search with a driver that cannot: it says so once.
func TestNoDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		_, stop := driveConfig(t, device.Config{
			Link: devicetest.NewLink(), New: func() device.Driver { return simulated() }, DiscoverCycle: time.Minute,
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		time.Sleep(time.Hour)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want 1: %s", n, log.String())
		}
	})
}

// login is a driver that keeps the configuration that it was opened with, and fails with it.
type login struct {
	*devicetest.Device
	config string
	fail   bool
}

func (l *login) Open(ctx context.Context, dev device.Instance) error {
	l.config = dev.Spec.Protocol.Config.String()
	if l.fail {
		return fmt.Errorf("cannot log in with %s", l.config)
	}
	return l.Device.Open(ctx, dev)
}

// TestSecrets has a driver get the secrets that its configuration refers to, and nobody else:
// neither logs nor conditions have them.
func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	for file, text := range map[string]string{"a/plc/password": "hunter2\n", "plc/user": "operator"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700), os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, config string
		secrets      device.Secrets
		fail         bool
		want, reason string
	}{
		{"text", `{"host":"h","auth":{"user":{"secretRef":{"name":"plc","key":"user"}},"password":{"secretRef":{"name":"plc","key":"password"}}},"big":12345678901234567890}`, device.SecretFiles(dir), false,
			`{"auth":{"password":"hunter2","user":"operator"},"big":12345678901234567890,"host":"h"}`, "Connected"},
		{"none", `{"host": "h"}`, nil, false, `{"host": "h"}`, "Connected"},
		{"no Secrets", `{"p":{"secretRef":{"name":"plc","key":"password"}}}`, nil, false, "", "SecretMissing"},
		{"no such key", `{"p":{"secretRef":{"name":"plc","key":"token"}}}`, device.SecretFiles(dir), false, "", "SecretMissing"},
		{"no key", `{"p":{"secretRef":{"name":"plc"}}}`, device.SecretFiles(dir), false, "", "SecretMissing"},
		{"out of the folder", `{"p":{"secretRef":{"name":"..","key":"password"}}}`, device.SecretFiles(dir), false, "", "SecretMissing"},
		{"the driver's error has it", `{"p":{"secretRef":{"name":"plc","key":"password"}}}`, device.SecretFiles(dir), true, `{"p":"hunter2"}`, "OpenFailed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := instance("a/b", nil)
				dev.Spec.Protocol.Config = schema.Options(tt.config)
				link, driver := devicetest.NewLink(dev), &login{Device: simulated(), fail: tt.fail}
				var log bytes.Buffer
				m, stop := driveConfig(t, device.Config{
					Link: link, New: func() device.Driver { return driver }, Secrets: tt.secrets,
					Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
				})
				time.Sleep(30 * time.Second)
				shown := fmt.Sprintf("%+v", m.Devices())
				if err := stop(); err != nil {
					t.Error(err)
				}
				if got := reasonOf(link, "a/b", device.ConditionConnected); got != tt.reason || driver.config != tt.want {
					t.Errorf("reason %q, configuration %s, want %q, %s", got, driver.config, tt.reason, tt.want)
				}
				if strings.Contains(log.String()+shown, "hunter2") {
					t.Errorf("the secret is shown: %s\n%s", shown, log.String())
				}
				if dev.Spec.Protocol.Config.String() != tt.config {
					t.Errorf("the instance has become %s", dev.Spec.Protocol.Config)
				}
			})
		})
	}
}

// revealing is a driver whose methods answer with an error that has the configuration.
type revealing struct {
	*devicetest.Device
	config string
}

func (r *revealing) Open(ctx context.Context, dev device.Instance) error {
	r.config = dev.Spec.Protocol.Config.String()
	return r.Device.Open(ctx, dev)
}

func (r *revealing) Call(_ context.Context, method string, _ schema.Options) (schema.Options, error) {
	if method == "coded" {
		return nil, &device.CallError{Code: device.CodeInvalid, Reason: "no login with " + r.config}
	}
	return nil, errors.New("no login with " + r.config)
}

// TestSecretsOfMethods has methods fail with errors that have a secret: who calls does not see it.
func TestSecretsOfMethods(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "plc"), 0o700), os.WriteFile(filepath.Join(dir, "plc", "password"), []byte("hunter2"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for method, code := range map[string]int{"coded": device.CodeInvalid, "plain": device.CodeFailed} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := instance("a/b", nil)
				dev.Spec.Protocol.Config = schema.Options(`{"p":{"secretRef":{"name":"plc","key":"password"}}}`)
				link, driver := devicetest.NewLink(dev), &revealing{Device: simulated()}
				driveConfig(t, device.Config{Link: link, New: func() device.Driver { return driver }, Secrets: device.SecretFiles(dir)})
				time.Sleep(time.Second)
				_, err := link.Call(t.Context(), "a/b", method, nil)
				var e *device.CallError
				if !errors.As(err, &e) || e.Code != code || strings.Contains(e.Reason, "hunter2") || !strings.Contains(e.Reason, "no login") {
					t.Errorf("got %v, want code %d without the secret", err, code)
				}
			})
		})
	}
}
