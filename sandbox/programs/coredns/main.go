// CoreDNS with only the plugins that the sandbox's Corefile names.
//
// The stock program links every plugin, cloud clients included, and takes twice as long to build.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

// The order in which a query passes the plugins, as in the stock plugin.cfg.
func init() {
	dnsserver.Directives = []string{"errors", "health", "ready", "cache", "template", "kubernetes"}
}

func main() { coremain.Run() }
