package access

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/internal/callbacks"
)

// Config sets up an Access. Every field may be left out: then nobody is let in.
type Config struct {
	// Users is the file of users and hashed passwords, as mosquitto_passwd writes it.
	Users string
	// Rules is the YAML file of what users may do; see the package's documentation.
	Rules string
	// Cert and Key are the PEM files of the broker's certificate for tls:// and wss://; both
	// or none.
	Cert, Key string
	// ClientCA is the PEM file of the authorities of clients' certificates. It needs Cert.
	ClientCA string
	// Token returns the user of a token that a client sent as its password: the name of
	// a service account, "system:serviceaccount:NAMESPACE:NAME". Nil accepts no tokens. It
	// is called by several goroutines at once. Run calls it again for the tokens of clients: an
	// error that wraps ErrTokenRevoked ends their connections. Other errors, an expired token
	// for example, are for new logins.
	Token func(ctx context.Context, token string, remote net.Addr) (string, error)
	// Anonymous lets clients of this machine in that have no user.
	Anonymous bool
	// RemoteAnonymous lets clients of every machine in that have no user. They have the
	// rights of the anonymous user. It implies Anonymous.
	RemoteAnonymous bool
	// Node is the name of the node; empty lets users use the membership topics of every node.
	Node string
	// Protocol returns the protocol of a device, NAMESPACE/NAME, for rules that name
	// protocols; empty if it does not know. It is called for each message with the
	// broker's lock held. Nil knows none.
	Protocol func(device string) string
	// Poll is how often Run looks for changed files; 0 means 5 s.
	Poll time.Duration
	// Logger logs who logs in and who does what (debug), and the first refusal of each
	// kind; nil discards.
	Logger *slog.Logger
}

// Access decides about clients of a broker. Make it with Open.
type Access struct {
	cfg     Config
	log     *slog.Logger
	state   atomic.Pointer[state]
	limits  limits
	files   files
	removed sync.Map // names of users that were removed from the file: true
	started atomic.Bool
	changes callbacks.List // of NotifyChange
	tokens  tokens
	counters
}

var _ broker.Revoker = (*Access)(nil)

// ErrTokenRevoked says that a token does not hold any more, though it may not have expired: its
// pod was deleted.
var ErrTokenRevoked = errors.New("bus/access: the token was revoked")

// Reasons for which a login is refused, besides broker.ErrPassword.
var (
	errAnonymous   = errors.New("bus/access: the client has no user: a user name with password, a service account token, or a client certificate is required")
	errCertificate = errors.New("bus/access: the client's certificate names no user, or a name that is not for certificates")
	errClientID    = errors.New("bus/access: the client identifier belongs to another user")
	errNoRule      = errors.New("bus/access: the rules let the user do nothing: give it a role in the rules file")
	errBusy        = errors.New("bus/access: too many wrong passwords or tokens came from this address: try again later")
)

// Open reads the files. An error in one is a *FileError.
func Open(cfg Config) (*Access, error) {
	if (cfg.Cert == "") != (cfg.Key == "") {
		return nil, errors.New("bus/access: Config.Cert and Config.Key: set both or none")
	}
	if cfg.ClientCA != "" && cfg.Cert == "" {
		return nil, errors.New("bus/access: Config.ClientCA needs TLS: set Config.Cert and Config.Key too")
	}
	if cfg.Poll < 0 {
		return nil, errors.New("bus/access: Config.Poll is negative")
	}
	cfg.Poll = cmp.Or(cfg.Poll, 5*time.Second)
	cfg.Anonymous = cfg.Anonymous || cfg.RemoteAnonymous
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Access{cfg: cfg, log: cfg.Logger}
	a.limits.init()
	a.state.Store(&state{rules: &ruleSet{}})
	if err := a.load(); err != nil {
		return nil, err
	}
	return a, nil
}

// Authenticates reports whether a client of another machine can prove who it is, or is let in
// without.
func (a *Access) Authenticates() bool {
	return a.cfg.Users != "" || a.cfg.ClientCA != "" || a.cfg.Token != nil || a.cfg.RemoteAnonymous
}

// state is what the files say. It is replaced as a whole and never changed.
type state struct {
	users map[string]*account // nil without a users file
	rules *ruleSet
}

// Authenticate says who a client is. It implements broker.Access.
func (a *Access) Authenticate(ctx context.Context, login broker.Login) (broker.User, error) {
	s := a.state.Load()
	name, how, err := a.identify(ctx, s, login)
	if err == nil {
		switch {
		case !s.rules.owns(login.ClientID, name) || (s.users[login.ClientID] != nil && login.ClientID != name):
			how, err = "client id", errClientID
		case s.rules.find(name).isNone():
			how, err = "rule", errNoRule
		}
	}
	if err != nil {
		a.refuseLogin(how, login, name, err)
		return broker.User{}, err
	}
	a.removed.Delete(name)
	proof := a.proof(s, name, how, login)
	a.log.Debug("MQTT client logged in", "user", name, "client", login.ClientID, "remote", addressOf(login.Remote), "by", how)
	return broker.User{Name: name, Proof: proof}, nil
}

// identify returns the client's user, and how it was found or why not.
func (a *Access) identify(ctx context.Context, s *state, login broker.Login) (name, how string, err error) {
	local := isLocal(login.Remote) && isLocal(login.Local)
	anonymous := a.cfg.RemoteAnonymous || (a.cfg.Anonymous && local)
	switch {
	case len(login.Certificates) > 0:
		if name = certificateUser(login.Certificates[0]); !validUser(name) {
			return name, "certificate", errCertificate
		}
		return name, "certificate", nil
	case login.Username == "" && len(login.Password) == 0:
		if !anonymous {
			return "", "anonymous", errAnonymous
		}
		return "", "anonymous", nil
	case a.cfg.Token != nil && s.users[login.Username] == nil && tokenForm(login.Password):
		name, err = a.checkToken(ctx, login)
		return name, "token", err
	case s.users == nil && anonymous:
		return "", "anonymous", nil
	case s.users == nil:
		return login.Username, "password", broker.ErrPassword
	}
	return login.Username, "password", a.checkPassword(ctx, s, login)
}

// Allow reports whether a user may do something with a topic. It implements broker.Access.
func (a *Access) Allow(user broker.User, topic string, action broker.Action) bool {
	found := a.state.Load().rules.find(user.Name)
	allowed := !found.isNone() && a.permits(found, topic, action)
	if allowed && user.Name != "" {
		if _, gone := a.removed.Load(user.Name); gone {
			allowed = false
		}
	}
	if action == broker.ActionReceive {
		return allowed // a wildcard leaves out what the user may not receive; this is no event
	}
	if !allowed {
		a.refuseTopic(action, user, topic)
	}
	if a.log.Enabled(context.Background(), slog.LevelDebug) { // no request is at hand here
		a.log.Debug("MQTT client acts", "user", user.Name, "action", actionName(action), "topic", topic, "allowed", allowed)
	}
	return allowed
}

// isLocal reports whether an address is one that only this machine can use.
func isLocal(addr net.Addr) bool {
	switch a := addr.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

func addressOf(addr net.Addr) string {
	if addr == nil {
		return ""
	}
	return addr.String()
}
