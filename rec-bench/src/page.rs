//! A page of HTML without scripts, to be mailed around: its head and style, and text made harmless.

/// The page with `body` beneath its title.
pub fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>\
         <style>body{{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}}\
         table{{border-collapse:collapse}}td,th{{padding:.15rem .8rem;border-bottom:1px solid #ddd}}th{{text-align:left}}\
         .n{{text-align:right;font-variant-numeric:tabular-nums}}\
         pre{{background:#f5f6f8;padding:.8rem;overflow:auto;font-size:13px}}svg{{display:block;max-width:100%;height:auto;margin:.5rem 0}}\
         .legend span{{margin-right:1.2rem;white-space:nowrap}}\
         .beside{{display:grid;grid-template-columns:repeat(auto-fit,minmax(22rem,1fr));gap:1rem;width:94vw;margin-left:calc(50% - 47vw)}}</style>\
         <h1>{title}</h1>{body}</html>\n"
    )
}

/// `text` as what it is, not as HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
