package broker

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"net"
)

// Login is what a client sends in its CONNECT packet, and where it comes from. Only
// Certificates are verified, by TLS.
type Login struct {
	ClientID     string // as sent; empty if the broker is to choose one
	Username     string
	Password     []byte              // valid until Authenticate returns
	Remote       net.Addr            // the client's address
	Local        net.Addr            // the address of the broker that it uses
	Certificates []*x509.Certificate // of a TLS client, verified as Config.TLS says, its own first
}

// User is who a client is, as Access says. A session belongs to the user who began it:
// another one cannot take it over. The zero value is the anonymous user.
type User struct {
	Name   string
	Groups []string
	// Proof says how the client proved who it is. The broker only gives it back to
	// Revoker.Valid. Nil if Access needs nothing there.
	Proof any
}

// Action is what a client wants to do with a topic.
type Action byte

// The actions.
const (
	ActionPublish   Action = iota // publish to a topic
	ActionSubscribe               // subscribe to a filter; of a shared subscription, without "$share" and name
	ActionReceive                 // receive one message that one of its filters matches
	ActionWill                    // leave a will on a topic
)

// Access says who may connect, and what each may do. Its methods are called by many
// goroutines at once.
type Access interface {
	// Authenticate returns who the client is, or an error to refuse it. ErrPassword
	// says that its credentials are wrong; every other error refuses it as not
	// authorized. It may take time: ctx ends when the client has to be answered.
	Authenticate(ctx context.Context, login Login) (User, error)
	// Allow reports whether the user may do the action. topic is a filter for
	// ActionSubscribe. It is called for each message with the broker's lock held, so it
	// must be quick and must not call the Broker.
	Allow(user User, topic string, action Action) bool
}

// Revoker is an Access whose users, passwords or rules may change while clients are connected.
// The broker ends the connections of clients whose login is no longer valid (MQTT 5: reason
// 0x87).
type Revoker interface {
	Access
	// Valid reports whether a login that Authenticate accepted would still be accepted. It is
	// called with the broker's lock held, like Allow.
	Valid(user User, clientID string) bool
	// NotifyChange has changed called after each change, until stop is called. Valid
	// already answers by the change then. One call may still run when stop returns.
	NotifyChange(changed func()) (stop func())
}

// valid asks a Revoker whether a login still holds.
func (b *Broker) valid(user User, clientID string) bool {
	r, ok := b.cfg.Access.(Revoker)
	return !ok || r.Valid(user, clientID)
}

// watchAccess ends connections whose login is no longer valid, until stop is called.
func (b *Broker) watchAccess() (stop func()) {
	r, ok := b.cfg.Access.(Revoker)
	if !ok {
		return func() {}
	}
	return r.NotifyChange(b.revoke)
}

// revoke ends the connections of all clients whose login is no longer valid. What they have
// sent and the broker has not read yet is not handled.
func (b *Broker) revoke() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		if s := c.session; s != nil && !b.valid(c.user, s.id) {
			b.counters.revoked.Add(1)
			b.log.Info("MQTT client is disconnected: its user, password or rule was changed", "client", s.id, "user", c.user.Name)
			c.ignored = true
			c.disconnect(codeNotAuthorized)
		}
	}
}

// ErrPassword is returned by Access.Authenticate for wrong credentials.
var ErrPassword = errors.New("bus/broker: user name or password is wrong")

// function is an Access of a Config.Authenticate: whoever is let in may do everything.
type function func(Login) bool

func (f function) Authenticate(_ context.Context, login Login) (User, error) {
	if !f(login) {
		return User{}, ErrPassword
	}
	return User{Name: login.Username}, nil
}

func (f function) Allow(User, string, Action) bool { return true }

// Passwords makes a Config.Authenticate that accepts the user names and passwords
// in the map. The map is copied. The comparison takes the same time for every
// password.
func Passwords(users map[string]string) func(Login) bool {
	hashed := make(map[string][sha256.Size]byte, len(users))
	for name, password := range users {
		hashed[name] = sha256.Sum256([]byte(password))
	}
	return func(login Login) bool {
		want, known := hashed[login.Username]
		got := sha256.Sum256(login.Password)
		return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && known
	}
}
