package main

// stateCmd exports and imports what the edge node on this machine keeps.
type stateCmd struct {
	Export  stateExportCmd  `cmd:"" aliases:"backup" help:"Write what the node keeps to a file, encrypted with the store's key or another."`
	Restore stateRestoreCmd `cmd:"" aliases:"import" help:"Replace what the node keeps by an export. What it has now is kept beside it."`
}

// Help is the text below the usage.
func (stateCmd) Help() string {
	return `The edgecore on this machine does the work, since it knows the format of its store. It must not run as a service meanwhile.

Examples:
  systemctl stop edgecore
  edgectl state export /root/edge-7.state
  edgectl state restore /root/edge-7.state
  systemctl start edgecore`
}

// stateFlags say where the state is. Those that are not given are edgecore's own settings.
type stateFlags struct {
	DataDir   string `help:"Data folder of edgecore. Default: that of edgecore's settings." placeholder:"DIR"`
	StoreKey  string `help:"File with the key of the store. Default: that of edgecore's settings." placeholder:"FILE"`
	BackupKey string `help:"File with the key of the export, 64 hexadecimal digits, mode 0600. Default: the store's own key, without which the export cannot be read: keep a copy of it elsewhere." placeholder:"FILE"`
	File      string `arg:"" help:"The export."`
}

// args are the same for edgecore.
func (f *stateFlags) args(command string) []string {
	args := []string{"state", command}
	for _, flag := range []struct{ name, value string }{{"data-dir", f.DataDir}, {"store-key", f.StoreKey}, {"backup-key", f.BackupKey}} {
		if flag.value != "" {
			args = append(args, "--"+flag.name+"="+flag.value)
		}
	}
	return args
}

type stateExportCmd struct {
	stateFlags
	Plain bool `help:"Do not encrypt the export: whoever reads it has the secrets of the node's pods."`
}

// Run has edgecore write the export.
func (c *stateExportCmd) Run(cli *cli) error {
	args := c.args("export")
	if c.Plain {
		args = append(args, "--plain")
	}
	return cli.replaced("edgecore", append(args, "--", c.File))
}

type stateRestoreCmd struct{ stateFlags }

// Run has edgecore restore the export.
func (c *stateRestoreCmd) Run(cli *cli) error {
	return cli.replaced("edgecore", append(c.args("restore"), "--", c.File))
}
