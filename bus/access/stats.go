package access

import (
	"errors"
	"maps"
	"sync"

	"github.com/edgekit/edgekit/bus/broker"
)

// counters are those of Stats.
type counters struct {
	mu     sync.Mutex
	logins map[string]int64
	topics map[string]int64
}

// Stats are counters since the start.
type Stats struct {
	// Logins is how many logins were refused, by reason: anonymous, certificate, client id,
	// limit, password, rule, token.
	Logins map[string]int64
	// Topics is how many actions on topics were refused: publish, subscribe, will.
	Topics map[string]int64
}

// Reasons and Actions are the keys of Stats.Logins and Stats.Topics.
func Reasons() []string {
	return []string{"anonymous", "certificate", "client id", "limit", "password", "rule", "token"}
}

// Actions are the keys of Stats.Topics.
func Actions() []string { return []string{"publish", "subscribe", "will"} }

// Stats returns the counters.
func (a *Access) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return Stats{Logins: maps.Clone(a.logins), Topics: maps.Clone(a.topics)}
}

// count counts a refusal and reports whether it is the first of its kind.
func (c *counters) count(counts *map[string]int64, kind string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *counts == nil {
		*counts = make(map[string]int64)
	}
	(*counts)[kind]++
	return (*counts)[kind] == 1
}

const maxShown = 200 // bytes of a client's text in the log

func (a *Access) refuseLogin(how string, login broker.Login, user string, err error) {
	if errors.Is(err, errBusy) {
		how = "limit"
	}
	log := a.log.Debug
	if a.count(&a.logins, how) {
		log = a.log.Warn
	}
	log("an MQTT login is refused; further ones of this kind are only counted", "reason", how, "user", shown(user), "client", shown(login.ClientID),
		"remote", addressOf(login.Remote), "err", err)
}

func (a *Access) refuseTopic(action broker.Action, user broker.User, topic string) {
	name := actionName(action)
	if a.count(&a.topics, name) {
		a.log.Warn("an MQTT user may not do this; further refusals of this kind are only counted", "user", shown(user.Name), "action", name, "topic", shown(topic))
	}
}

func shown(text string) string { return text[:min(len(text), maxShown)] }

func actionName(action broker.Action) string {
	switch action {
	case broker.ActionPublish:
		return "publish"
	case broker.ActionSubscribe:
		return "subscribe"
	case broker.ActionReceive:
		return "receive"
	}
	return "will"
}
