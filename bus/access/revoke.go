package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/edgekit/edgekit/bus/broker"
)

// proof is how a client showed who it is: the broker keeps it in broker.User.
type proof struct {
	password     bool
	hash         [hashSize]byte // of the password in the file at login
	certificates []*x509.Certificate
	token        string
	remote       net.Addr    // where the token came from
	revoked      atomic.Bool // the token was
}

// proof notes what Valid needs of a login by the state s.
func (a *Access) proof(s *state, name, how string, login broker.Login) any {
	switch how {
	case "password":
		if user := s.users[name]; user != nil {
			return &proof{password: true, hash: user.hash}
		}
	case "certificate":
		return &proof{certificates: login.Certificates}
	case "token":
		p := &proof{token: string(login.Password), remote: login.Remote}
		a.tokens.add(p)
		return p
	}
	return nil
}

// Valid reports whether a client that Authenticate has let in would still be let in by the
// files as they were read last, and whose token was not revoked. It implements broker.Revoker.
func (a *Access) Valid(user broker.User, clientID string) bool {
	s := a.state.Load()
	p, _ := user.Proof.(*proof)
	switch {
	case s.rules.find(user.Name).isNone(), !s.rules.owns(clientID, user.Name), s.users[clientID] != nil && clientID != user.Name:
		return false
	case p == nil:
		return true
	case p.token != "":
		return !p.revoked.Load()
	case p.password:
		account := s.users[user.Name]
		return account != nil && account.hash == p.hash
	}
	return a.files.tls.accepts(p.certificates)
}

// accepts reports whether the authorities still stand for a client's certificate.
func (c *certificates) accepts(chain []*x509.Certificate) bool {
	cfg := c.current.Load()
	if cfg == nil || cfg.ClientCAs == nil || len(chain) == 0 {
		return false
	}
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: cfg.ClientCAs, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err == nil
}

// versions tells apart what was read at two times.
type versions struct {
	state *state
	tls   *tls.Config
}

func (a *Access) versions() versions {
	return versions{a.state.Load(), a.files.tls.current.Load()}
}

// tokenCheck is how often Run checks the tokens of clients.
const tokenCheck = time.Minute

// tokens are those that clients have logged in with and that the broker still has. The zero
// value has none.
type tokens struct {
	mu  sync.Mutex
	all map[weak.Pointer[proof]]struct{}
}

func (t *tokens) add(p *proof) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == nil {
		t.all = make(map[weak.Pointer[proof]]struct{})
	}
	t.all[weak.Make(p)] = struct{}{}
}

// held lists the tokens and forgets those that nobody has any more.
func (t *tokens) held() []*proof {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*proof
	for w := range t.all {
		if p := w.Value(); p != nil && !p.revoked.Load() {
			list = append(list, p)
		} else {
			delete(t.all, w)
		}
	}
	return list
}

// checkTokens checks the tokens of clients again, and reports whether one was revoked.
func (a *Access) checkTokens(ctx context.Context) (revoked bool) {
	for _, p := range a.tokens.held() {
		if _, err := a.cfg.Token(ctx, p.token, p.remote); errors.Is(err, ErrTokenRevoked) {
			p.revoked.Store(true)
			revoked = true
		}
	}
	return revoked
}

// NotifyChange calls changed after each change of the files that Run has read, and when it
// finds that a token was revoked, until stop is called. It implements broker.Revoker.
func (a *Access) NotifyChange(changed func()) (stop func()) { return a.changes.Add(changed) }
