package access_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus/access"
	"github.com/edgekit/edgekit/bus/broker"
)

// TestRevoked changes the files while clients are connected: those whose login is no
// longer valid are disconnected with the reason "not authorized", and the others are not.
func TestRevoked(t *testing.T) {
	const rules = `users:
- {name: mapper, role: mapper, devices: [plant/*]}
- {name: operator, role: admin}
`
	operator := line(t, "operator", "secret")
	for _, test := range []struct {
		name  string
		ends  string // the user whose client is disconnected
		users string // the new file; empty leaves it
		rules string // likewise
	}{
		{"password", "mapper", line(t, "mapper", "another") + operator, ""},
		{"user", "mapper", operator, ""},
		{"rule", "mapper", "", "users:\n- {name: mapper, role: none}\n- {name: operator, role: admin}\n"},
		{"client identifier", "operator", "", "users:\n- {name: mapper, role: mapper, devices: [plant/*], clientIDs: [client-operator]}\n- {name: operator, role: admin}\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			cfg := access.Config{Users: filepath.Join(dir, "users"), Rules: filepath.Join(dir, "rules"), Poll: 10 * time.Millisecond}
			replace(t, cfg.Users, line(t, "mapper", "secret")+operator)
			replace(t, cfg.Rules, rules)
			a := open(t, cfg)
			b, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0", Access: a})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 2)
			go func() { ended <- a.Run(ctx) }()
			go func() { ended <- b.Run(ctx) }()
			defer func() {
				cancel()
				for range 2 {
					if err := <-ended; err != nil {
						t.Error(err)
					}
				}
			}()
			<-b.Ready()
			conns := map[string]net.Conn{"mapper": login5(t, b.Addr(), "mapper"), "operator": login5(t, b.Addr(), "operator")}
			if test.users != "" {
				replace(t, cfg.Users, test.users)
			}
			if test.rules != "" {
				replace(t, cfg.Rules, test.rules)
			}
			last, err := io.ReadAll(conns[test.ends]) // until the broker closes it
			if err != nil || string(last) != "\xe0\x02\x87\x00" {
				t.Errorf("the client got % x, %v", last, err)
			}
			wait(t, func() bool { return b.Stats().Clients == 1 && b.Stats().Revoked == 1 })
		})
	}
}

// login5 connects with MQTT 5 and the password "secret".
func login5(t *testing.T, addr net.Addr, user string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	text := func(b []byte, s string) []byte { return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) }
	body := append(text(nil, "MQTT"), 5, 0xc2, 0, 0, 0)
	body = text(text(text(body, "client-"+user), user), "secret")
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(append([]byte{0x10, byte(len(body))}, body...)); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(conn, head); err != nil {
		t.Fatal(err)
	}
	ack := make([]byte, head[1])
	if _, err := io.ReadFull(conn, ack); err != nil || ack[1] != 0 {
		t.Fatalf("CONNACK % x, %v", ack, err)
	}
	return conn
}

// TestTokenRevoked deletes the pod of a token: a client that has logged in with it is not valid
// any more. A check that fails for another reason says nothing.
func TestTokenRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone, fails atomic.Bool
		a := open(t, access.Config{Token: func(context.Context, string, net.Addr) (string, error) {
			switch {
			case gone.Load():
				return "", fmt.Errorf("%w: no pod", access.ErrTokenRevoked)
			case fails.Load():
				return "", errors.New("the token has expired")
			}
			return account, nil
		}})
		user, err := a.Authenticate(t.Context(), broker.Login{ClientID: "app", Password: []byte(token), Remote: loopback, Local: loopback})
		if err != nil {
			t.Fatal(err)
		}
		changes := 0
		defer a.NotifyChange(func() { changes++ })()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		for _, step := range []struct {
			name  string
			set   *atomic.Bool
			valid bool
		}{{"nothing", new(atomic.Bool), true}, {"the check fails", &fails, true}, {"the pod is deleted", &gone, false}} {
			step.set.Store(true)
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if got := a.Valid(user, "app"); got != step.valid || (changes > 0) == step.valid {
				t.Errorf("%s: valid is %t after %d changes", step.name, got, changes)
			}
		}
		cancel()
		if err := <-ended; err != nil || changes != 1 {
			t.Errorf("%v, %d changes", err, changes)
		}
	})
}
