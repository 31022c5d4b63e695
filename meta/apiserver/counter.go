package apiserver

import "sync"

// counter bounds what clients have open: all together, and each of them.
type counter struct {
	most  int // of one client
	total int // of all together; 0 means no bound

	mu  sync.Mutex
	all int
	now map[string]int
}

// enter counts one more of a client. It returns false at a bound.
func (c *counter) enter(user string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now[user] >= c.most || c.total > 0 && c.all >= c.total {
		return false
	}
	if c.now == nil {
		c.now = make(map[string]int)
	}
	c.all++
	c.now[user]++
	return true
}

func (c *counter) leave(user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.now[user]--; c.now[user] <= 0 {
		delete(c.now, user)
	}
}

// count is how many a client has open.
func (c *counter) count(user string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now[user]
}

// open is how many are open.
func (c *counter) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}
