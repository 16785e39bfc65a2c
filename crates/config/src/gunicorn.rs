//! What gunicorn needs behind a load balancer, added where the command does not say it.
//!
//! Invariant: nothing that the command says is changed or repeated, and no other program's command is touched.
//!
//! gunicorn's own defaults fail on Fargate: it binds to 127.0.0.1, answers one request at a time, closes idle
//! connections after 2 s while the load balancer keeps them for 60, and may take as long to stop as ECS lets it live.

use std::time::Duration;

/// Above the 60 s for which the load balancer keeps an idle connection.
const KEEP_ALIVE: &str = "75";
const THREADS: &str = "4";

pub(crate) fn complete(command: &[String], port: Option<u16>, stop_timeout: Duration, file: bool) -> Vec<String> {
    let Some(own) = own_arguments(command) else {
        return command.to_vec();
    };
    let (program, arguments) = command.split_at(own);
    let says = |long: &str, short: Option<char>| {
        arguments
            .iter()
            .take_while(|arg| *arg != "--")
            .any(|arg| is_option(arg, long, short))
    };

    let mut added: Vec<String> = Vec::new();
    let mut add = |option: &str, value: String| added.extend([option.to_owned(), value]);
    if let Some(port) = port.filter(|_| !says("bind", Some('b'))) {
        add("--bind", format!("0.0.0.0:{port}"));
    }
    // A configuration file decides the rest: what stands on the command line would win over it.
    if !file && !says("config", Some('c')) {
        let other_worker = says("worker-class", Some('k')) && !arguments.iter().any(|arg| arg.contains("gthread"));
        if !other_worker && !says("threads", None) {
            add("--threads", THREADS.to_owned());
        }
        if !says("keep-alive", None) {
            add("--keep-alive", KEEP_ALIVE.to_owned());
        }
        if !says("graceful-timeout", None) {
            add("--graceful-timeout", graceful(stop_timeout).to_string());
        }
    }
    [program, &added, arguments].concat()
}

/// Below what ECS waits before it kills, so that gunicorn ends by itself.
fn graceful(stop_timeout: Duration) -> u64 {
    let seconds = stop_timeout.as_secs();
    seconds.saturating_sub((seconds / 6).max(1)).max(1)
}

/// Where gunicorn's own arguments begin; `None` where the program is another.
fn own_arguments(command: &[String]) -> Option<usize> {
    let name = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
    let program = name(command.first()?);
    if program == "gunicorn" {
        return Some(1);
    }
    let is_python = program
        .strip_prefix("python")
        .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'));
    if !is_python {
        return None;
    }
    let mut words = command.iter().enumerate().skip(1);
    while let Some((_, word)) = words.next() {
        match word.as_str() {
            "-m" => {
                return words
                    .next()
                    .filter(|(_, module)| *module == "gunicorn")
                    .map(|(at, _)| at + 1);
            }
            // The two of the interpreter's options that take a value.
            "-X" | "-W" => {
                words.next();
            }
            option if option.starts_with('-') && option != "-c" && option != "-" => {}
            _ => return None,
        }
    }
    None
}

/// `--bind=x`, `--bind`, any beginning of it that argparse takes for it, `-b`, `-bx`.
fn is_option(arg: &str, long: &str, short: Option<char>) -> bool {
    if let Some(given) = arg.strip_prefix("--") {
        let given = given.split('=').next().unwrap_or(given);
        return !given.is_empty() && long.starts_with(given);
    }
    arg.strip_prefix('-')
        .and_then(|rest| rest.chars().next())
        .is_some_and(|first| Some(first) == short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete_words(line: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        complete(&words, Some(8000), Duration::from_secs(30), false).join(" ")
    }

    const ALL: &str = "--bind 0.0.0.0:8000 --threads 4 --keep-alive 75 --graceful-timeout 25";

    #[test]
    fn adds_what_is_absent() {
        assert_eq!(
            complete_words("gunicorn blog.wsgi"),
            format!("gunicorn {ALL} blog.wsgi")
        );
        assert_eq!(
            complete_words("/opt/venv/bin/gunicorn blog.wsgi -w 2"),
            format!("/opt/venv/bin/gunicorn {ALL} blog.wsgi -w 2")
        );
        assert_eq!(
            complete_words("python -m gunicorn blog.wsgi"),
            format!("python -m gunicorn {ALL} blog.wsgi")
        );
        assert_eq!(
            complete_words("python3.13 -X dev -u -m gunicorn a"),
            format!("python3.13 -X dev -u -m gunicorn {ALL} a")
        );
    }

    #[test]
    fn keeps_what_is_said() {
        for bind in [
            "-b 127.0.0.1:9",
            "-b127.0.0.1:9",
            "--bind 127.0.0.1:9",
            "--bind=127.0.0.1:9",
            "--bin=127.0.0.1:9",
        ] {
            let out = complete_words(&format!("gunicorn {bind} blog.wsgi"));
            assert!(!out.contains("0.0.0.0") && out.contains(bind), "{out}");
        }
        let said = "gunicorn --bind=0.0.0.0:1 --threads=2 --keep-alive=5 --graceful-timeout=9 blog.wsgi";
        assert_eq!(complete_words(said), said);
    }

    #[test]
    fn a_configuration_file_decides_all_but_the_port() {
        assert_eq!(
            complete_words("gunicorn -c conf.py a"),
            "gunicorn --bind 0.0.0.0:8000 -c conf.py a"
        );
        let words = ["gunicorn".to_owned(), "a".to_owned()];
        let found = complete(&words, Some(8000), Duration::from_secs(30), true);
        assert_eq!(found.join(" "), "gunicorn --bind 0.0.0.0:8000 a");
    }

    #[test]
    fn threads_are_for_threaded_workers() {
        assert!(!complete_words("gunicorn -k uvicorn.workers.UvicornWorker a").contains("--threads"));
        assert!(complete_words("gunicorn -k gthread a").contains("--threads"));
    }

    #[test]
    fn leaves_others_alone() {
        for line in [
            "celery -A blog worker",
            "python manage.py runserver",
            "python -c gunicorn",
            "python script.py -m gunicorn",
            "python -m uvicorn gunicorn",
            "sh -c gunicorn",
            "pythonic -m gunicorn",
            "python -m",
        ] {
            assert_eq!(complete_words(line), line);
        }
        assert!(complete(&[], Some(1), Duration::ZERO, false).is_empty());
    }

    #[test]
    fn without_a_port_there_is_nothing_to_bind() {
        let words = vec!["gunicorn".to_owned(), "a".to_owned()];
        assert!(!complete(&words, None, Duration::from_secs(30), false).contains(&"--bind".to_owned()));
    }

    #[test]
    fn ends_before_it_is_killed() {
        for seconds in 2..=120 {
            assert!(graceful(Duration::from_secs(seconds)) < seconds);
        }
    }
}
