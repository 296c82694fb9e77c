//! What is known of a process.

use std::path::Path;

use super::container;

/// A process as rows name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) tgid: u32,
    /// The name of its program.
    pub(crate) name: String,
    pub(crate) container: Option<String>,
    /// As an agent or SDK in it is told by its environment or its command line.
    pub(crate) service: Option<String>,
    pub(crate) instance: Option<String>,
}

impl Identity {
    /// What `/proc` says of a process. `None`: it has ended.
    pub(crate) fn read(proc: &Path, tgid: u32) -> Option<Identity> {
        let folder = proc.join(tgid.to_string());
        let text = |name: &str| std::fs::read(folder.join(name)).unwrap_or_default();
        let comm = std::fs::read_to_string(folder.join("comm")).ok()?;
        let program = std::fs::read_link(folder.join("exe")).ok();
        let program = program.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
        // A program that was replaced on disk.
        let program = program.map(|name| name.trim_end_matches(" (deleted)"));
        let mut identity = Identity {
            tgid,
            name: program.unwrap_or(comm.trim_end()).to_owned(),
            container: container::id(String::from_utf8_lossy(&text("cgroup")).trim_end()).map(str::to_owned),
            ..Identity::default()
        };
        identity.names(&text("environ"), &text("cmdline"));
        Some(identity)
    }

    /// A process of which only the kernel's words are left.
    pub(crate) fn gone(tgid: u32, comm: &str, container: Option<String>) -> Identity {
        Identity { tgid, name: comm.to_owned(), container, ..Identity::default() }
    }

    /// The service, as OpenTelemetry's SDKs name one that has no name.
    pub(crate) fn service_or_program(&self) -> String {
        self.service.clone().unwrap_or_else(|| format!("unknown_service:{}", self.name))
    }

    /// Reads the names that the settings of SkyWalking's agents and OpenTelemetry's SDKs give. What is on the
    /// command line comes first, as for the agents.
    fn names(&mut self, environ: &[u8], cmdline: &[u8]) {
        let words = |bytes: &[u8]| {
            let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
            words.map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>()
        };
        let environment = words(environ);
        let variable = |name: &str| {
            let value = environment.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.filter(|value| !value.is_empty())
        };
        let mut arguments = words(cmdline);
        for name in ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"] {
            arguments.extend(variable(name).unwrap_or_default().split_whitespace().map(str::to_owned));
        }
        let argument = |name: &str| {
            let options = arguments.iter().filter_map(|word| {
                // `-Dname=value`, or an option of the agent: `-javaagent:…/skywalking-agent.jar=name=value`.
                let own = word.strip_prefix("-D").and_then(|word| word.strip_prefix(name)?.strip_prefix('='));
                let agent = || {
                    let options = word.strip_prefix("-javaagent:")?.split_once(".jar=")?.1;
                    let short = name.strip_prefix("skywalking.")?;
                    options.split(',').find_map(|option| option.strip_prefix(short)?.strip_prefix('='))
                };
                own.or_else(agent)
            });
            options.rev().find(|value| !value.is_empty())
        };
        let attribute = |name: &str| {
            let listed = [argument("otel.resource.attributes"), variable("OTEL_RESOURCE_ATTRIBUTES")];
            let mut pairs = listed.into_iter().flatten().flat_map(|list| list.split(','));
            pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
        };
        self.service = argument("skywalking.agent.service_name")
            .or_else(|| variable("SW_AGENT_NAME"))
            .or_else(|| argument("otel.service.name"))
            .or_else(|| variable("OTEL_SERVICE_NAME"))
            .or_else(|| attribute("service.name"))
            .map(str::to_owned);
        self.instance = argument("skywalking.agent.instance_name")
            .or_else(|| variable("SW_AGENT_INSTANCE_NAME"))
            .or_else(|| attribute("service.instance.id"))
            .map(str::to_owned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(environ: &str, cmdline: &str) -> (Option<String>, Option<String>) {
        let mut identity = Identity::default();
        identity.names(environ.replace(' ', "\0").as_bytes(), cmdline.replace(' ', "\0").as_bytes());
        (identity.service, identity.instance)
    }

    #[test]
    fn agents_and_sdks_are_told_their_service_in_these_ways() {
        let is =
            |service: &str, instance: Option<&str>| (Some(service.to_owned()), instance.map(str::to_owned));
        let cases = [
            ("SW_AGENT_NAME=shop SW_AGENT_INSTANCE_NAME=shop-1", "python x.py", is("shop", Some("shop-1"))),
            ("OTEL_SERVICE_NAME=cart", "node", is("cart", None)),
            (
                "OTEL_RESOURCE_ATTRIBUTES=a=b,service.name=pay,service.instance.id=7",
                "x",
                is("pay", Some("7")),
            ),
            ("OTEL_SERVICE_NAME=no", "java -Dskywalking.agent.service_name=yes -jar a.jar", is("yes", None)),
            (
                "",
                "java -javaagent:/a/skywalking-agent.jar=agent.service_name=web,x=y -jar b",
                is("web", None),
            ),
            ("", "java -Dotel.resource.attributes=service.name=r -jar b", is("r", None)),
            ("PATH=/bin", "nginx", (None, None)),
        ];
        for (environ, cmdline, expected) in cases {
            assert_eq!(named(environ, cmdline), expected, "{environ} {cmdline}");
        }
        let options = named("JAVA_TOOL_OPTIONS=-Dskywalking.agent.service_name=o", "java");
        assert_eq!(options.0.as_deref(), Some("o"));
    }

    #[test]
    fn this_process_has_a_name() {
        let own = Identity::read(Path::new("/proc"), std::process::id()).unwrap();
        assert!(own.name.starts_with("weir_receiver_ebpf"), "{own:?}");
        assert_eq!(Identity::read(Path::new("/proc"), u32::MAX), None);
    }
}
