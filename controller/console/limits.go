package console

import (
	"net/http"
	"sync"
)

// userLimit bounds how many of something there are at a time, for all users and for each.
type userLimit struct {
	max, each int
	all, own  string // what a user reads who gets none

	mu     sync.Mutex
	open   int
	byUser map[string]int
}

func newStreamLimit(most int) *userLimit {
	return &userLimit{
		max: most, each: max(1, most/sessionShare), byUser: make(map[string]int),
		all: "as many streams and logs are open as may be: close one, or try again later",
		own: "you have as many streams and logs open as one user may: close one",
	}
}

func newRequestLimit(most int) *userLimit {
	return &userLimit{
		max: most, each: max(1, most/requestShare), byUser: make(map[string]int),
		all: "the console answers as many requests as it may at a time: try again",
		own: "you have as many requests under way as one user may: try again",
	}
}

// acquire counts one for a user; release must be called when it ends.
func (l *userLimit) acquire(user string) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.max {
		return nil, fail(http.StatusTooManyRequests, "%s", l.all)
	}
	if l.byUser[user] >= l.each {
		return nil, fail(http.StatusTooManyRequests, "%s", l.own)
	}
	l.open++
	l.byUser[user]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open--
		if l.byUser[user]--; l.byUser[user] == 0 {
			delete(l.byUser, user)
		}
	}, nil
}
