package access_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus/access"
	"github.com/edgekit/edgekit/bus/broker"
)

// line is the line of a user, cheap to check.
func line(t *testing.T, user, password string) string {
	t.Helper()
	text, err := access.Hash(user, []byte(password), 1000)
	if err != nil {
		t.Fatal(err)
	}
	return text + "\n"
}

func TestBadFiles(t *testing.T) {
	good := line(t, "anna", "secret")
	for _, test := range []struct{ name, users, rules, want string }{
		{"no hash", "# users\n\nanna\n", "", "users:3: want NAME:HASH: make the line with mosquitto_passwd"},
		{"plain", good + "bob:secret\n", "", `users:2: user "bob": the password is not hashed: mosquitto_passwd -U FILE`},
		{"old hash", "bob:$6$c2FsdA==$aGFzaA==\n", "", "-H sha512-pbkdf2"},
		{"twice", good + good, "", `users:2: user "anna" is there twice`},
		{"no name", ":$7$1$c2FsdA==$aGFzaA==\n", "", "users:1: user \"\": a name is UTF-8"},
		{"anonymous", "anonymous:$7$1$c2FsdA==$aGFzaA==\n", "", "is not \"anonymous\""},
		{"rounds", "bob:$7$0$c2FsdHNhbHQ=$aGFzaA==\n", "", "rounds is not between 1 and 1000000"},
		{"many rounds", "bob:$7$99999999999999999999$c2FsdHNhbHQ=$aGFzaA==\n", "", "rounds is not between"},
		{"salt", "bob:$7$1$!$aGFzaA==\n", "", "the salt is not base64"},
		{"hash", "bob:$7$1$c2FsdHNhbHQ=$aGFzaA==\n", "", "the hash is not base64 of 64 bytes"},
		{"parts", "bob:$7$1$c2FsdA==\n", "", "the hash is not $7$ROUNDS$SALT$HASH"},
		{"large", strings.Repeat("#\n", 1<<20+1), "", "it is no users file"},

		{"no YAML", "", "users: [", "rules:1: "},
		{"other field", "", "user: []\n", "rules:1: field user not found"},
		{"no entry", "", "users:\n- x\n", "rules:2: want an entry with name and role"},
		{"field", "", "users:\n- name: a\n  rol: app\n", `rules:2: field "rol" is not known: use name, role`},
		{"role", "", "users:\n- name: a\n  role: mapper\n  devices: ['*/*']\n- name: b\n  role: god\n", `rules:5: user "b": role is "god": use mapper, app, admin or none`},
		{"no name", "", "users:\n- role: app\n", "name must have 1 to 256 bytes"},
		{"star", "", "users:\n- {name: 'a*b', role: app}\n", "* only at its end"},
		{"twice", "", "users:\n- {name: 'a', role: app}\n- {name: a, role: none}\n", `rules:3: user "a" is there twice`},
		{"mapper", "", "users:\n- {name: a, role: mapper}\n", "role mapper needs devices or protocols"},
		{"app protocols", "", "users:\n- {name: a, role: app, protocols: [x]}\n", "protocols is for role mapper"},
		{"admin", "", "users:\n- {name: a, role: admin, read: [a/b]}\n", "role admin takes no devices"},
		{"device", "", "users:\n- {name: a, role: app, devices: [pump]}\n", `devices has "pump": use NAMESPACE/NAME`},
		{"device star", "", "users:\n- {name: a, role: app, read: ['*x/y']}\n", "with * only at the end of a part"},
		{"filter", "", "users:\n- {name: a, role: app, publish: ['a/#/b']}\n", "publish: bus: "},
		{"reserved", "", "users:\n- {name: a, role: app, subscribe: ['$hw/events/#']}\n", "topics of devices follow from role and devices"},
		{"reserved", "", "users:\n- {name: a, role: app, publish: ['$hw/events/node/+/membership/get']}\n", "upgrade/ can be named"},
		{"reserved", "", "users:\n- {name: a, role: app, publish: ['$hw/events/node/upgrade/confirm']}\n", "upgrade/ can be named"},
		{"reserved", "", "users:\n- {name: a, role: app, publish: ['$hw/events/device/a/b/twin/cloud_updated']}\n", "topics of devices follow from role"},
		{"shared", "", "users:\n- {name: a, role: app, subscribe: ['$share/g/#']}\n", "without $share"},
		{"client id", "", "users:\n- {name: a, role: app, clientIDs: ['*']}\n", `clientIDs has "*"`},
		{"anchor", "", "users:\n- &a {name: a, role: app}\n- *a\n", "rules:2: YAML anchors (&) are not supported"},
		{"marks", "", "users: " + strings.Repeat("[", 1<<15), "the file is too large"},
		{"type", "", "users:\n- {name: a, role: app, read: {x: y}}\n", "cannot unmarshal"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := access.Config{}
			if test.users != "" {
				cfg.Users = write(t, "users", test.users)
			}
			if test.rules != "" {
				cfg.Rules = write(t, "rules", test.rules)
			}
			_, err := access.Open(cfg)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if _, ok := errors.AsType[*access.FileError](err); !ok {
				t.Errorf("%v is no FileError", err)
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "none")
	for name, cfg := range map[string]access.Config{
		"no such file":                  {Users: missing},
		"name a file that edgecore can": {Rules: missing},
		"Config.Cert and Config.Key":    {Cert: missing},
		"Config.ClientCA needs TLS":     {ClientCA: missing},
		"none: no such file":            {Cert: missing, Key: missing},
		"Config.Poll is negative":       {Poll: -1},
	} {
		if _, err := access.Open(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
}

func TestHash(t *testing.T) {
	for _, test := range []struct {
		user, password string
		rounds         int
	}{{"", "x", 0}, {"a:b", "x", 0}, {"#a", "x", 0}, {"system:a", "x", 0}, {"anonymous", "x", 0}, {"a", "", 0}, {"a", strings.Repeat("x", 513), 0}, {"a", "x", -1}, {"a", "x", 1 << 30}, {"a\n", "x", 0}} {
		if text, err := access.Hash(test.user, []byte(test.password), test.rounds); err == nil {
			t.Errorf("%v: %q", test, text)
		}
	}
}

// The file of mosquitto_passwd is ours.
func TestMosquittoPasswd(t *testing.T) {
	if _, err := exec.LookPath("mosquitto_passwd"); err != nil {
		t.Skip("mosquitto_passwd is not installed: apt-get install mosquitto")
	}
	name := filepath.Join(t.TempDir(), "users")
	for _, args := range [][]string{{"-c", "-b", name, "anna", "secret"}, {"-b", name, "bob", "pässwort"}} {
		if out, err := exec.CommandContext(t.Context(), "mosquitto_passwd", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	a := open(t, access.Config{Users: name})
	for user, password := range map[string]string{"anna": "secret", "bob": "pässwort"} {
		if _, err := a.Authenticate(t.Context(), broker.Login{Username: user, Password: []byte(password)}); err != nil {
			t.Errorf("%s: %v", user, err)
		}
		if _, err := a.Authenticate(t.Context(), broker.Login{Username: user, Password: []byte("wrong")}); !errors.Is(err, broker.ErrPassword) {
			t.Errorf("%s with a wrong password: %v", user, err)
		}
	}
}

func openFiles(t *testing.T, users, rules []byte) error {
	dir := t.TempDir()
	cfg := access.Config{Users: filepath.Join(dir, "users"), Rules: filepath.Join(dir, "rules")}
	if err := errors.Join(os.WriteFile(cfg.Users, users, 0o600), os.WriteFile(cfg.Rules, rules, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err := access.Open(cfg)
	return err
}

// The worst files that are read do not take much memory.
func TestAttackFileMemory(t *testing.T) {
	flow := func(unit string) []byte { return []byte("users: [" + strings.Repeat(unit, 128<<10/len(unit)) + "]") }
	for name, files := range map[string][2][]byte{
		"brackets": {nil, flow("[],")}, "commas": {nil, flow("a,")}, "maps": {nil, flow("{},")}, "keys": {nil, flow("{a: b},")},
		"lines": {nil, bytes.Repeat([]byte("- a\n"), 32<<10)}, "text": {nil, []byte("users: [" + strings.Repeat("x", 120<<10) + "]")},
		"questions": {nil, bytes.Repeat([]byte("? a\n"), 32<<10)}, "just fits": {nil, []byte("users: [" + strings.Repeat("{},", 8<<10-8) + "]")},
		"entries": {nil, []byte("users:\n" + strings.Repeat("- {name: a, role: app}\n", 3000))},
		"users":   {bytes.Repeat([]byte("a:$7$1$c2FsdHNhbHQ=$\n"), 100<<10), nil}, "comments": {bytes.Repeat([]byte("#\n"), 1<<20), nil},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_ = openFiles(t, files[0], files[1])
		runtime.ReadMemStats(&after)
		if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 16 {
			t.Errorf("%s: %d MiB were allocated", name, mib)
		}
	}
}

func ExampleHash() {
	text, err := access.Hash("anna", []byte("secret"), 0)
	fmt.Println(strings.HasPrefix(text, "anna:$7$20000$"), err)
	// Output: true <nil>
}
