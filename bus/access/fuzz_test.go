package access

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus/broker"
)

func FuzzUsers(f *testing.F) {
	line, err := Hash("anna", []byte("secret"), 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(line + "\n"))
	f.Add([]byte("# x\n\nbob:$7$101$c2FsdHNhbHRzYWx0$" + strings.Repeat("A", 86) + "==\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		users, _, err := parseUsers(text)
		if err != nil && (err.Reason == "" || users != nil) {
			t.Errorf("%+v", err)
		}
		for name, u := range users {
			if !validUser(name) || u.rounds < minRounds || u.rounds > maxRounds || len(u.salt) == 0 {
				t.Errorf("%q: %+v", name, u.secret)
			}
		}
	})
}

// Whatever the rules say, nobody may publish what only edgecore says, and who is no mapper
// gets no specs.
func FuzzRules(f *testing.F) {
	f.Add([]byte("users:\n- {name: a, role: app, read: ['*/*'], publish: ['#', $hw/events/upload/#], subscribe: ['+/x']}\n- {name: anonymous, role: none}\n"))
	f.Add([]byte("users:\n- {name: 'a*', role: mapper, devices: ['*/*', a*/b*], protocols: [p], clientIDs: [x*]}\n- {name: b, role: admin}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := parseRules(text)
		if err != nil {
			if err.Reason == "" || err.Line < 0 {
				t.Errorf("%+v", err)
			}
			return
		}
		a := &Access{log: slog.New(slog.DiscardHandler)}
		a.state.Store(&state{rules: set})
		for _, user := range []string{"", "a", "b", "x", "system:serviceaccount:x:y"} {
			for _, topic := range []string{"$hw/events/device/a/b/twin/cloud_updated", "$hw/events/device/a/b/twin/update/delta", "$hw/events/node/n/membership/detail/result", "$hw/x"} {
				if a.Allow(broker.User{Name: user}, topic, broker.ActionPublish) {
					t.Errorf("%q may publish to %s", user, topic)
				}
			}
			r := set.find(user)
			if a.Allow(broker.User{Name: user}, "$hw/events/node/n/membership/updated", broker.ActionReceive) && !r.role.hasCredentials() {
				t.Errorf("%q gets specs as %d", user, r.role)
			}
			set.owns("x1", user)
		}
	})
}
