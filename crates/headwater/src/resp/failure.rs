//! Why there is no answer, as an error's first word and a sentence. Clients sort errors by that word, so where Redis has
//! one that means the same it is used.

use std::time::Duration;

use headwater_flow::serve::Refused;

pub fn text(refused: &Refused) -> String {
    match refused {
        Refused::UnknownPattern { name, .. } => format!("ERR there is no view {name}"),
        Refused::BadParameter { name, message, remedy } => {
            let remedy = remedy.as_deref().filter(|remedy| !remedy.is_empty());
            format!("ERR {name} {message}{}", remedy.map_or(String::new(), |remedy| format!(": {remedy}")))
        }
        Refused::OtherHistory(error) => {
            format!("OUTOFSTEP {error}: ask for a position of now, or send RESET to ask for none")
        }
        Refused::Behind { waited, age, transactions, unseen } => {
            let mut text = format!("TRYAGAIN not there within {}", millis(*waited));
            if let Some(transactions) = transactions {
                text.push_str(&format!(": the furthest store is {transactions} transactions behind"));
            }
            // A store whose age is not known has none that could be told.
            if let Some(age) = age.filter(|age| *age < Duration::MAX) {
                text.push_str(&format!(", {} old", millis(age)));
            }
            if let Some(xid) = unseen {
                text.push_str(&format!(", and the source does not show transaction {xid} yet"));
            }
            text
        }
        Refused::TooMuch(error) => format!("ERR {error}"),
        Refused::Overloaded { again_after } => {
            format!(
                "BUSY no store can answer, and the source is asked as often as it may be; try again after {}",
                millis(*again_after)
            )
        }
        Refused::Unavailable { tried } => {
            let filling = !tried.is_empty() && tried.iter().all(|(_, why)| why.ends_with("is not filled"));
            let word = if filling { "LOADING" } else { "MASTERDOWN" };
            let tried: Vec<String> = tried.iter().map(|(who, why)| format!("{who}: {why}")).collect();
            format!("{word} nobody can answer now; {}", tried.join("; "))
        }
    }
}

fn millis(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_is_told_by_the_first_word() {
        let tried = |whys: &[&str]| Refused::Unavailable {
            tried: whys.iter().map(|why| ("near".to_owned(), (*why).to_owned())).collect(),
        };
        assert_eq!(
            text(&tried(&["view `a` is not filled"])),
            "LOADING nobody can answer now; near: view `a` is not filled"
        );
        assert!(text(&tried(&["view `a` is not filled", "lost"])).starts_with("MASTERDOWN "));
        let behind = Refused::Behind {
            waited: Duration::from_millis(50),
            age: Some(Duration::from_millis(70)),
            transactions: Some(3),
            unseen: Some(7),
        };
        assert_eq!(
            text(&behind),
            "TRYAGAIN not there within 50 ms: the furthest store is 3 transactions behind, 70 ms old, and the source \
             does not show transaction 7 yet"
        );
    }
}
