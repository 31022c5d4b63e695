package access

import (
	"slices"
	"strings"

	"github.com/edgekit/edgekit/bus/topics"
)

// role is what a user is.
type role byte

const (
	roleNone role = iota
	roleApp
	roleMapper
	roleAdmin
)

// roles are the names of the roles in a file.
var roles = [...]string{roleNone: "none", roleApp: "app", roleMapper: "mapper", roleAdmin: "admin"}

// hasCredentials reports whether a role gets specs of devices.
func (r role) hasCredentials() bool { return r == roleMapper || r == roleAdmin }

// rule is what a user may do.
type rule struct {
	role               role
	devices            []pattern // it sets these, and reads them
	read               []pattern // it only reads these
	protocols          []string  // devices of these protocols are as in devices
	publish, subscribe []string  // filters of other topics
	own                bool      // it has the devices and topics of its namespace
}

// found is a user's rule.
type found struct {
	*rule
	namespace string // of a service account
}

// isNone reports whether the user may do nothing at all.
func (f found) isNone() bool { return f.rule == nil || f.role == roleNone }

func (f found) ownDevice(id string) bool {
	return f.own && len(id) > len(f.namespace) && id[len(f.namespace)] == '/' && id[:len(f.namespace)] == f.namespace
}

// ownTopic reports whether a topic begins with the user's namespace. No namespace is empty or
// begins with $.
func (f found) ownTopic(topic string) bool { return f.namespace != "" && f.ownDevice(topic) }

// readsAll reports whether the user may read the list of all devices. It has names and
// attributes, and no spec.
func (f found) readsAll() bool {
	if f.role.hasCredentials() {
		return true
	}
	for _, p := range f.devices {
		if p.all() {
			return true
		}
	}
	for _, p := range f.read {
		if p.all() {
			return true
		}
	}
	return false
}

// isBound reports whether the user is a mapper that is limited to its protocols.
func (f found) isBound() bool {
	return f.role == roleMapper && len(f.protocols) > 0 && !slices.ContainsFunc(f.devices, pattern.all)
}

// hasAllCredentials reports whether the user gets the specs of all devices of the node.
func (f found) hasAllCredentials() bool { return f.role.hasCredentials() && !f.isBound() }

// hasCredentialsOf reports whether the user gets the specs of the devices with a protocol, as
// topics.ProtocolLevel writes it.
func (f found) hasCredentialsOf(level string) bool {
	if !f.isBound() {
		return f.role.hasCredentials()
	}
	for _, protocol := range f.protocols {
		if topics.ProtocolLevel(protocol) == level {
			return true
		}
	}
	return false
}

// pattern is a set of devices: a name or the beginning of names in each part.
type pattern struct {
	namespace, name       string
	namespaceAny, nameAny bool // namespace and name are beginnings
}

func (p pattern) all() bool {
	return p.namespaceAny && p.namespace == "" && p.nameAny && p.name == ""
}

func covers(all []pattern, id string) bool {
	if len(all) == 0 {
		return false
	}
	namespace, name, _ := strings.Cut(id, "/")
	for _, p := range all {
		if part(p.namespace, p.namespaceAny, namespace) && part(p.name, p.nameAny, name) {
			return true
		}
	}
	return false
}

func part(want string, beginning bool, got string) bool {
	return got == want || (beginning && strings.HasPrefix(got, want))
}

// everything is what the anonymous user may do, and each user if there is no rules file.
func everything() *rule {
	open := []string{"#", uploadPrefix + "#", "$ke/#"}
	return &rule{
		role: roleMapper, devices: []pattern{{namespaceAny: true, nameAny: true}}, publish: open,
		subscribe: append([]string{nodePrefix + "+/upgrade/#"}, open...), // it sees upgrades, and confirms none
	}
}

// ownNamespace is what a service account may do that no rule names.
func ownNamespace() *rule { return &rule{role: roleApp, own: true} }

const (
	// anonymousName is the name of the anonymous user in the rules file.
	anonymousName = "anonymous"
	// systemPrefix begins names that only tokens can prove.
	systemPrefix  = "system:"
	accountPrefix = systemPrefix + "serviceaccount:"
)

// validUser reports whether a user of the file or of a certificate may have the name.
func validUser(name string) bool {
	return name != "" && name != anonymousName && !strings.HasPrefix(name, systemPrefix) && len(name) <= maxName && !strings.ContainsAny(name, "\x00\r\n")
}

// ruleSet finds the rule of a user. It is not changed after it was made.
type ruleSet struct {
	exact     map[string]*rule
	beginning []beginning // the longest first
	clientIDs []clientIDs
	anonymous *rule // of clients without a user
	accounts  *rule // of service accounts that no rule names
	others    *rule // of other users that no rule names; nil refuses them
}

type beginning struct {
	text string
	rule *rule
}

// clientIDs are client identifiers that are for one user.
type clientIDs struct {
	text      string
	beginning bool
	user      string
	userAny   bool // user is the beginning of names
}

// find returns the rule of a user; a nil one if it has none. An empty name is the
// anonymous user.
func (s *ruleSet) find(user string) found {
	if user == "" {
		return found{rule: s.anonymous}
	}
	f := found{rule: s.others}
	if account, ok := strings.CutPrefix(user, accountPrefix); ok {
		f.namespace, _, _ = strings.Cut(account, ":")
		f.rule = s.accounts
	}
	if r, ok := s.exact[user]; ok {
		f.rule = r
		return f
	}
	for _, b := range s.beginning {
		if strings.HasPrefix(user, b.text) {
			f.rule = b.rule
			return f
		}
	}
	return f
}

// owns reports whether a user may have a client identifier.
func (s *ruleSet) owns(id, user string) bool {
	taken := false
	for _, c := range s.clientIDs {
		if part(c.text, c.beginning, id) {
			if user != "" && part(c.user, c.userAny, user) {
				return true
			}
			taken = true
		}
	}
	return !taken
}
