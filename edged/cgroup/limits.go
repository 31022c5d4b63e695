package cgroup

// Limited reports whether SetUp limits a pod as a whole. With the systemd driver
// it does not: only the containers have limits there.
func (g *Groups) Limited() bool { return g.cfg.Driver != "systemd" }
