package main

// upgradeCmd is the command "upgrade".
type upgradeCmd struct {
	Node  upgradeNodeCmd  `cmd:"" default:"withargs" help:"On an edge node: replace edgecore and edgectl by another version (the default command)."`
	Cloud upgradeCloudCmd `cmd:"" help:"Replace cloudcore in the cluster by another version, while nodes stay connected."`
}
